#!/bin/bash
# Node.js: pkcs11js and graphene-pk11. Usage: scripts/interop/node.sh MODULE
. "$(dirname "$0")/lib.sh"
begin node "${1:-}"
wants node nodejs npm npm
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN AES-KEY-GEN RSA-PKCS ECDSA AES-CBC-PAD AES-GCM
follow
pass
