#!/bin/bash
# stunnel with key and certificate in the token. Usage: scripts/interop/stunnel.sh MODULE
. "$(dirname "$0")/lib.sh"
begin stunnel "${1:-}"
wants stunnel stunnel4 curl curl '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs ECDSA-KEY-PAIR-GEN ECDSA
PORT=$(free_port) PLAIN_PORT=$(free_port)
export PORT PLAIN_PORT
follow
pass
