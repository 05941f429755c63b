#!/bin/bash
# OpenSSL 3 through pkcs11-provider: keys, requests, certificates, signatures, CMS, decryption, TLS on both sides.
# Usage: scripts/interop/openssl-provider.sh MODULE
. "$(dirname "$0")/lib.sh"
begin openssl-provider "${1:-}" openssl
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
PROVIDER=$(find /usr/lib /usr/lib64 -path '*ossl-modules/pkcs11.so' 2>/dev/null | head -1)
if [ -z "$PROVIDER" ]; then
    step "pkcs11-provider from Debian's backports" backport pkcs11-provider
    PROVIDER=$(find "$WORK/backport" -name pkcs11.so)
fi
PORT=$(free_port)
export PROVIDER PORT
# The provider names no hash for OAEP's default, which SoftHSM refuses.
is_softhsm && leave_out "Decrypt"
follow
pass
