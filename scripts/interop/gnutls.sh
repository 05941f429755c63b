#!/bin/bash
# GnuTLS: p11tool and certtool. Usage: scripts/interop/gnutls.sh MODULE
. "$(dirname "$0")/lib.sh"
begin gnutls "${1:-}"
command -v p11tool >/dev/null && command -v certtool >/dev/null || fail "gnutls-bin is not installed"
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA

export GNUTLS_PIN=$PIN GNUTLS_SO_PIN=$SO_PIN
URL="pkcs11:token=$LABEL"
kit() {
    p11tool --provider="$MODULE" --batch "$@"
}
listed() {
    kit --list-tokens >"$WORK/tokens.log" && grep -q "token=$LABEL" "$WORK/tokens.log"
}
step "list the tokens" listed
step "generate RSA-2048" kit --login --generate-privkey=rsa --bits=2048 --label=g-rsa --outfile=rsa.pub "$URL"
step "generate P-256" kit --login --generate-privkey=ecdsa --curve=secp256r1 --label=g-ec --outfile=ec.pub "$URL"
for name in rsa ec; do
    step "OpenSSL takes the $name public key" openssl pkey -pubin -in "$name.pub" -noout
    step "GnuTLS signs and verifies with $name" kit --login --test-sign "$URL;object=g-$name;type=private"
done
step "export the P-256 public key" kit --login --export-pubkey --outfile=ec.again "$URL;object=g-ec;type=private"

printf 'cn = "Interop"\nca\ncert_signing_key\nexpiration_days = 30\nserial = 7\n' >template
for name in rsa ec; do
    step "certtool: self-signed by the $name key" env GNUTLS_PIN="$PIN" certtool --provider="$MODULE" --generate-self-signed \
        --load-privkey "$URL;object=g-$name;type=private" --load-pubkey "$name.pub" --template template --outfile "$name.crt"
    step "  OpenSSL verifies it" openssl verify -CAfile "$name.crt" "$name.crt"
    step "write the certificate to the token" kit --login --write --load-certificate="$name.crt" --label="g-$name" "$URL"
done
everything() {
    kit --login --list-all "$URL" >"$WORK/all.log" || return 1
    [ "$(grep -c '^Object' "$WORK/all.log")" -ge 6 ]
}
step "list everything: two private keys, two public keys, two certificates" everything
step "read a certificate" kit --login --export --outfile=cert.back "$URL;object=g-ec;type=cert"
step "  it is the same" cmp <(openssl x509 -in ec.crt -outform DER) <(openssl x509 -in cert.back -outform DER)

openssl ecparam -name secp384r1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out own.pem
openssl pkey -in own.pem -pubout -out own.pub
step "import a P-384 private key" kit --login --write --load-privkey=own.pem --label=g-own "$URL"
step "import its public key" kit --login --write --load-pubkey=own.pub --label=g-own "$URL"
step "GnuTLS signs with it and verifies" kit --login --test-sign "$URL;object=g-own;type=private"
step "delete it" kit --login --delete "$URL;object=g-own"
gone() {
    kit --login --list-all "$URL" >"$WORK/all.log" && ! grep -q 'g-own' "$WORK/all.log"
}
step "  it is gone" gone
refused "a wrong PIN" env GNUTLS_PIN=000000 p11tool --provider="$MODULE" --batch --login --list-privkeys "$URL"
pass
