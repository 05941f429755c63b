#!/bin/bash
# p11-kit: a registration in a user's configuration, list-modules, and the module behind p11-kit's proxy and its server,
# which is another process. Usage: scripts/interop/p11-kit.sh MODULE
. "$(dirname "$0")/lib.sh"
begin p11-kit "${1:-}"
command -v p11-kit >/dev/null || fail "p11-kit is not installed"
needs RSA-PKCS-KEY-PAIR-GEN SHA256-RSA-PKCS

# p11-kit ignores a user's configuration when it runs as root, so it is made to run where it may not.
mkdir -p "$XDG_CONFIG_HOME/pkcs11/modules"
printf 'user-config: only\n' >"$XDG_CONFIG_HOME/pkcs11/pkcs11.conf"
# A copy, since the module itself may lie where only its builder may look.
cp "$MODULE" "$WORK/$(basename "$MODULE")"
printf 'module: %s\n' "$WORK/$(basename "$MODULE")" >"$XDG_CONFIG_HOME/pkcs11/modules/interop.module"
as_user() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
        return
    fi
    chown -R nobody "$WORK" && setpriv --reuid=nobody --clear-groups -- "$@"
    local status=$?
    chown -R root "$WORK"
    return $status
}
listed() {
    as_user p11-kit list-modules >"$WORK/modules.log" 2>&1 || { cat "$WORK/modules.log"; return 1; }
    cat "$WORK/modules.log"
    grep -q '^interop:' "$WORK/modules.log" && grep -q "token: $LABEL" "$WORK/modules.log"
}
step "list-modules shows the module and the token" listed

step "generate RSA-2048" tool --keypairgen --key-type rsa:2048 --id 01 --label rsa
step "read the public key" tool --read-object --type pubkey --id 01 --output-file rsa.der
head -c 1000 /dev/urandom >data

# The server holds the module; the client is a module of its own that speaks to it over a socket.
client=$(find /usr/lib /usr/lib64 /usr/local/lib -name p11-kit-client.so 2>/dev/null | head -1)
[ -n "$client" ] || fail "p11-kit-client.so is not installed (package p11-kit-modules)"
serve() {
    p11-kit server --provider "$MODULE" --name "$WORK/socket" --foreground "pkcs11:token=$LABEL" >"$WORK/server.log" 2>&1 &
    SERVER=$!
    trap 'kill "$SERVER" 2>/dev/null; rm -rf "$WORK"' EXIT
    for _ in $(seq 100); do
        [ -S "$WORK/socket" ] && return 0
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.05
    done
    cat "$WORK/server.log"
    return 1
}
step "p11-kit server starts" serve
export P11_KIT_SERVER_ADDRESS="unix:path=$WORK/socket"
remote() {
    pkcs11-tool --module "$client" --token-label "$LABEL" --login --pin "$PIN" "$@"
}
step "sign through the server" remote --sign --mechanism SHA256-RSA-PKCS --id 01 --input-file data --output-file sig
step "  OpenSSL verifies it" openssl dgst -sha256 -keyform DER -verify rsa.der -signature sig data
step "generate P-256 through the server" remote --keypairgen --key-type EC:prime256v1 --id 02 --label ec
step "  this process sees it" tool --read-object --type pubkey --id 02 --output-file ec.der
refused "a wrong PIN through the server" pkcs11-tool --module "$client" --token-label "$LABEL" --login --pin 000000 --list-objects
pass
