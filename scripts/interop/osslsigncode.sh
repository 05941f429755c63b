#!/bin/bash
# osslsigncode: executables signed by RSA and P-256 keys in the token. Usage: scripts/interop/osslsigncode.sh MODULE
. "$(dirname "$0")/lib.sh"
begin osslsigncode "${1:-}" osslsigncode
wants osslsigncode osslsigncode '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
follow
pass
