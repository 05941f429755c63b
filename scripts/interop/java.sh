#!/bin/bash
# Java's SunPKCS11: keytool, jarsigner, and a program over KeyStore, Signature, Cipher and the rest.
# Usage: scripts/interop/java.sh MODULE
. "$(dirname "$0")/lib.sh"
begin java "${1:-}"
wants javac openjdk-17-jdk-headless
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA AES-KEY-GEN AES-CBC-PAD AES-GCM

follow
refused "a wrong PIN" keytool -list -keystore NONE -storetype PKCS11 -addprovider SunPKCS11 -providerArg pkcs11.cfg -storepass 000000
# The keys that keytool made are ordinary ones for others.
step "another program sees them" tool --list-objects --type privkey
pass
