#!/bin/bash
# strongSwan's pki: certificates issued by keys in the token. Usage: scripts/interop/strongswan.sh MODULE
. "$(dirname "$0")/lib.sh"
begin strongswan "${1:-}" pki
wants pki strongswan-pki /usr/lib/ipsec/plugins/libstrongswan-pkcs11.so libstrongswan-extra-plugins \
    /usr/lib/ipsec/plugins/libstrongswan-openssl.so libstrongswan-standard-plugins
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
# strongSwan finalises the module inside exit's handlers, where SoftHSM's own libcrypto is gone already: it crashes.
is_softhsm && leave_out "Certificates by keys in the token"
follow
pass
