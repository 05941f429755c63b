#!/bin/bash
# Node.js: pkcs11js and graphene-pk11. Usage: scripts/interop/node.sh MODULE
. "$(dirname "$0")/lib.sh"
begin node "${1:-}"
wants node nodejs npm npm
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN AES-KEY-GEN RSA-PKCS ECDSA AES-CBC-PAD AES-GCM
follow "Install both"
# The compiler of Node's engine is left out: valgrind looks at what the module does, and code that changes takes it very long.
RUNTIME=yes VALGRIND_OPTIONS="--smc-check=all-non-file --error-limit=no"
[ -z "${VALGRIND:-}" ] || { export NODE_OPTIONS=--jitless && under_valgrind node; }
follow pkcs11js graphene-pk11
[ -z "${VALGRIND:-}" ] || {
    wants cc gcc /usr/include/p11-kit-1/p11-kit/pkcs11.h libp11-kit-dev
    step "a fault of a module is found in Node" finds_fault node -e \
        "const token = new (require('pkcs11js').PKCS11)(); token.load('$WORK/faulty.so'); token.C_Initialize(); token.C_GetInfo(); token.C_Finalize()"
}
pass
