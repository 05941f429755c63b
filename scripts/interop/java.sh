#!/bin/bash
# Java's SunPKCS11: keytool, jarsigner, and a program over KeyStore, Signature, Cipher and the rest.
# Usage: scripts/interop/java.sh MODULE
. "$(dirname "$0")/lib.sh"
# The program, not keytool: the JVM starts anew for each of its calls, and that takes most of a minute. The JVM writes its own code,
# and lets itself be told of null pointers and of the end of a stack by a fault.
RUNTIME=yes VALGRIND_OPTIONS="--smc-check=all-non-file --error-limit=no"
[ -z "${VALGRIND:-}" ] || export JDK_JAVA_OPTIONS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
begin java "${1:-}" java
wants javac openjdk-17-jdk-headless
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA AES-KEY-GEN AES-CBC-PAD AES-GCM

follow
refused "a wrong PIN" keytool -list -keystore NONE -storetype PKCS11 -addprovider SunPKCS11 -providerArg pkcs11.cfg -storepass 000000
# The keys that keytool made are ordinary ones for others.
step "another program sees them" tool --list-objects --type privkey
[ -z "${VALGRIND:-}" ] || {
    wants cc gcc /usr/include/p11-kit-1/p11-kit/pkcs11.h libp11-kit-dev
    printf 'name = Faulty\nlibrary = %s/faulty.so\nslotListIndex = 0\n' "$WORK" >faulty.cfg
    step "a fault of a module is found in the JVM" finds_fault java -m java.base/sun.security.tools.keytool.Main -list \
        -keystore NONE -storetype PKCS11 -addprovider SunPKCS11 -providerArg faulty.cfg -storepass:env PIN
}
pass
