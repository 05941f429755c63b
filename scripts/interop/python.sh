#!/bin/bash
# Python: python-pkcs11 and PyKCS11. Usage: scripts/interop/python.sh MODULE
. "$(dirname "$0")/lib.sh"
begin python "${1:-}"
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN AES-KEY-GEN RSA-PKCS ECDSA AES-CBC-PAD AES-KEY-WRAP
follow "Install both"
[ -z "${VALGRIND:-}" ] || under_valgrind venv/bin/python
has mechtype-0x4033 || has HSS || leave_out "HSS signatures"
follow python-pkcs11 PyKCS11 "HSS signatures"
pass
