#!/bin/bash
# Apache httpd with both keys in the token: handshakes, a reload, many at once. Usage: scripts/interop/apache.sh MODULE
. "$(dirname "$0")/lib.sh"
begin apache "${1:-}" apache2 curl
wants apache2 apache2-bin curl curl '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
PORT=$(free_port)
export PORT
follow
pass
