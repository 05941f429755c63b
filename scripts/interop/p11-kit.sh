#!/bin/bash
# p11-kit: a registration in a user's configuration, URIs, the proxy, and the server, which is another process.
# Usage: scripts/interop/p11-kit.sh MODULE
if [ "$(id -u)" -eq 0 ]; then
    # p11-kit ignores a user's configuration when it runs as root: all of this is then done by nobody, with a copy of the
    # module, which may lie where only its builder may look.
    . "$(dirname "$0")/lib.sh"
    CLIENT=p11-kit
    [ -f "${1:-}" ] || fail "there is no module ${1:-}"
    wants setpriv util-linux
    place=$(mktemp -d)
    cp -r "$INTEROP" "$INTEROP/../needs.sh" "$GUIDES" "$place"
    mkdir "$place/scripts" "$place/docs"
    mv "$place/interop" "$place/needs.sh" "$place/scripts"
    mv "$place/clients" "$place/docs"
    cp "$1" "$place"
    chown -R nobody "$place"
    HOME=$place setpriv --reuid=nobody --clear-groups -- bash "$place/scripts/interop/p11-kit.sh" "$place/$(basename "$1")"
    status=$?
    rm -rf "$place"
    exit $status
fi
. "$(dirname "$0")/lib.sh"
begin p11-kit "${1:-}"
wants p11-kit p11-kit p11tool gnutls-bin '/usr/lib/*/pkcs11/p11-kit-client.so' p11-kit-modules
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN SHA256-RSA-PKCS ECDSA
# A login to SoftHSM rewrites what the others read.
is_softhsm && leave_out "Many clients at once"
follow
pass
