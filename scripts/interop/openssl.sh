#!/bin/bash
# OpenSSL through libengine-pkcs11-openssl: requests, certificates, signatures, CMS, decryption, TLS.
# Usage: scripts/interop/openssl.sh MODULE
. "$(dirname "$0")/lib.sh"
begin openssl "${1:-}" openssl
wants '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
PORT=$(free_port)
export PORT
follow
# With SoftHSM, whose own OpenSSL is the host's, this ends in a crash at exit.
is_softhsm || OPENSSL_CONF=$WORK/openssl.cnf refused "a key that is not there" openssl dgst -sha256 -engine pkcs11 \
    -keyform engine -sign "pkcs11:token=$LABEL;object=nothing;type=private" -out sig file
pass
