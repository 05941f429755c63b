#!/bin/bash
# Node.js: pkcs11js and graphene-pk11. Usage: scripts/interop/node.sh MODULE
. "$(dirname "$0")/lib.sh"
# V8 writes its own code, and lets itself be told of faults; interpreted alone it is quicker to look at.
RUNTIME=yes VALGRIND_OPTIONS="--smc-check=all-non-file --error-limit=no"
[ -z "${VALGRIND:-}" ] || export NODE_OPTIONS="--jitless"
begin node "${1:-}" node
wants node nodejs npm npm
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN AES-KEY-GEN RSA-PKCS ECDSA AES-CBC-PAD AES-GCM
# npm is a program of Node too, and nothing to look at.
npm() { env -u NODE_OPTIONS PATH="${PATH#"$WORK/shims:"}" npm "$@"; }
export -f npm
export WORK

follow
[ -z "${VALGRIND:-}" ] || {
    wants cc gcc /usr/include/p11-kit-1/p11-kit/pkcs11.h libp11-kit-dev
    step "a fault of a module is found in Node" finds_fault node -e '
        const pkcs11 = new (require("pkcs11js").PKCS11)();
        pkcs11.load(process.cwd() + "/faulty.so");
        pkcs11.C_Initialize();
        pkcs11.C_GetInfo();'
}
pass
