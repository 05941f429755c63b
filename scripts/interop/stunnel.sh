#!/bin/bash
# stunnel with key and certificate in the token. Usage: scripts/interop/stunnel.sh MODULE
. "$(dirname "$0")/lib.sh"
# Its threads have stacks of 64 KiB, so that our calls run on stacks of their own. These may lie close by: what moves the stack
# pointer by more than this is another stack, and no large frame on the same.
VALGRIND_OPTIONS=--max-stackframe=40000
begin stunnel "${1:-}" stunnel
wants stunnel stunnel4 curl curl '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs ECDSA-KEY-PAIR-GEN ECDSA
PORT=$(free_port) PLAIN_PORT=$(free_port)
export PORT PLAIN_PORT
follow
pass
