#!/bin/bash
# Real clients under valgrind, up to the last of their exit handlers: no read or write of memory that is not theirs.
# Usage: scripts/interop/valgrind.sh MODULE
. "$(dirname "$0")/lib.sh"
begin valgrind "${1:-}"
wants valgrind valgrind '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl p11tool gnutls-bin ssh-keygen openssh-client \
    certutil libnss3-tools ods-hsmutil libhsm-bin pki strongswan-pki /usr/lib/ipsec/plugins/libstrongswan-pkcs11.so libstrongswan-extra-plugins \
    /usr/lib/ipsec/plugins/libstrongswan-openssl.so libstrongswan-standard-plugins
needs RSA-PKCS-KEY-PAIR-GEN SHA256-RSA-PKCS

CLIENT=openssl follow "Name the module to OpenSSL"
CLIENT=strongswan follow "Name the module"
CLIENT=dnssec follow "OpenDNSSEC: a repository"
step "generate RSA-2048" tool --keypairgen --key-type rsa:2048 --id 01 --label rsa
head -c 1000 /dev/urandom >data

# clean TEXT COMMAND...: it does its work, and valgrind has nothing to say. Undefined values are the clients' own matter.
clean_exit() {
    local text=$1
    shift
    step "$text" timeout 300 valgrind --quiet --error-exitcode=99 --undef-value-errors=no --trace-children=no "$@"
}
clean_exit "pkcs11-tool" pkcs11-tool --module "$MODULE" --token-label "$LABEL" --login --pin "$PIN" --sign --mechanism SHA256-RSA-PKCS --id 01 \
    --input-file data --output-file sig
OPENSSL_CONF=$WORK/openssl.cnf clean_exit "OpenSSL, by its engine" openssl dgst -sha256 -engine pkcs11 -keyform engine \
    -sign "pkcs11:token=$LABEL;object=rsa;type=private" -out sig data
GNUTLS_PIN=$PIN clean_exit "GnuTLS" p11tool --provider="$MODULE" --batch --login --test-sign "pkcs11:token=$LABEL;object=rsa;type=private"
clean_exit "OpenSSH" ssh-keygen -D "$MODULE"
security_device() {
    mkdir db && certutil -N -d sql:db --empty-password && modutil -dbdir sql:db -add interop-module -libfile "$MODULE" -force
}
step "a database of NSS" security_device
printf '%s:%s\n' "$LABEL" "$PIN" >pins
clean_exit "NSS" certutil -K -d sql:db -h "$LABEL" -f pins
clean_exit "OpenDNSSEC" ods-hsmutil -c ods.xml list Token
# It finalises the module inside exit's handlers.
is_softhsm || STRONGSWAN_CONF=$WORK/strongswan.conf clean_exit "strongSwan" pki --pub --type priv --keyid 01 --outform pem <<<"$PIN"
pass
