#!/bin/bash
# stunnel with key and certificate in the token. Usage: scripts/interop/stunnel.sh MODULE
. "$(dirname "$0")/lib.sh"
# Not under valgrind: its threads have small stacks, so that our calls run on stacks of their own, which valgrind takes for errors.
begin stunnel "${1:-}"
wants stunnel stunnel4 curl curl '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs ECDSA-KEY-PAIR-GEN ECDSA
PORT=$(free_port) PLAIN_PORT=$(free_port)
export PORT PLAIN_PORT
follow
pass
