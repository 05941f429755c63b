#!/bin/bash
# OpenSSL through libengine-pkcs11-openssl: requests, certificates, signatures, decryption.
# Usage: scripts/interop/openssl.sh MODULE
. "$(dirname "$0")/lib.sh"
begin openssl "${1:-}"
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA

# The engine is named by a configuration of our own: nothing of the machine's is changed or needed.
cat >openssl.cnf <<END
openssl_conf = main
[main]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = $MODULE
PIN = $PIN
init = 0
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
[leaf]
subjectAltName = DNS:example.test
END
export OPENSSL_CONF=$WORK/openssl.cnf
step "the engine loads" openssl engine -t pkcs11

head -c 5000 /dev/urandom >data
uri() {
    echo "pkcs11:token=$LABEL;object=$1;type=$2"
}
engine=(-engine pkcs11 -keyform engine)

for pair in rsa:2048 EC:prime256v1 EC:secp384r1; do
    name=${pair//:/-}
    step "generate $pair" tool --keypairgen --key-type "$pair" --id "$(printf %s "$name" | od -An -tx1 | tr -d " \n")" --label "$name"
    step "$pair: public key by the engine" openssl pkey -engine pkcs11 -inform engine -in "$(uri "$name" private)" -pubout -out "$name.pub"
    step "$pair: certificate request" openssl req -new "${engine[@]}" -key "$(uri "$name" private)" -subj "/CN=$name" -sha256 -out "$name.csr"
    step "  OpenSSL alone verifies it" env -u OPENSSL_CONF openssl req -in "$name.csr" -verify -noout
    step "$pair: self-signed certificate" openssl req -new -x509 "${engine[@]}" -key "$(uri "$name" private)" -subj "/CN=$name" -days 30 -extensions ca -out "$name.crt"
    step "  OpenSSL alone verifies it" env -u OPENSSL_CONF openssl verify -CAfile "$name.crt" "$name.crt"
    for hash in sha256 sha512; do
        step "$pair: dgst -$hash" openssl dgst "-$hash" "${engine[@]}" -sign "$(uri "$name" private)" -out sig data
        step "  OpenSSL alone verifies it" env -u OPENSSL_CONF openssl dgst "-$hash" -verify "$name.pub" -signature sig data
    done
done

pss=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest)
step "RSA-PSS" openssl dgst -sha256 "${engine[@]}" -sign "$(uri rsa-2048 private)" "${pss[@]}" -out sig data
step "  OpenSSL alone verifies it" env -u OPENSSL_CONF openssl dgst -sha256 -verify rsa-2048.pub "${pss[@]}" -signature sig data

env -u OPENSSL_CONF openssl req -new -newkey rsa:2048 -nodes -keyout leaf.key -subj "/CN=leaf" -out leaf.csr 2>/dev/null
step "x509: the token's CA signs a certificate" openssl x509 -req -in leaf.csr -CA EC-prime256v1.crt -CAkey "$(uri EC-prime256v1 private)" \
    -CAkeyform engine -engine pkcs11 -set_serial 7 -days 30 -extfile openssl.cnf -extensions leaf -out leaf.crt
step "  OpenSSL alone verifies the chain" env -u OPENSSL_CONF openssl verify -CAfile EC-prime256v1.crt leaf.crt

printf 'a session key' >short
env -u OPENSSL_CONF openssl pkeyutl -encrypt -pubin -inkey rsa-2048.pub -in short -out cipher
step "decrypt PKCS#1 v1.5" openssl pkeyutl -decrypt "${engine[@]}" -inkey "$(uri rsa-2048 private)" -in cipher -out plain
step "  it is the plaintext" cmp short plain
env -u OPENSSL_CONF openssl pkeyutl -encrypt -pubin -inkey rsa-2048.pub -pkeyopt rsa_padding_mode:oaep -in short -out cipher
step "decrypt OAEP" openssl pkeyutl -decrypt "${engine[@]}" -inkey "$(uri rsa-2048 private)" -pkeyopt rsa_padding_mode:oaep -in cipher -out plain
step "  it is the plaintext" cmp short plain
# With SoftHSM, whose own OpenSSL is the host's, this ends in a crash at exit.
is_softhsm || refused "a key that is not there" openssl dgst -sha256 "${engine[@]}" -sign "$(uri nothing private)" -out sig data
pass
