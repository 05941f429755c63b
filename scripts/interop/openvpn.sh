#!/bin/bash
# OpenVPN: names of the keys, and a connection on loopback with one of them. Usage: scripts/interop/openvpn.sh MODULE
. "$(dirname "$0")/lib.sh"
begin openvpn "${1:-}" openvpn
wants openvpn openvpn '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs RSA-PKCS-KEY-PAIR-GEN RSA-PKCS
PORT=$(free_port) MANAGEMENT_PORT=$(free_port)
export PORT MANAGEMENT_PORT
follow
pass
