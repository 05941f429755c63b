#!/bin/bash
# NSS: databases, keys, certificates, PKCS#12, CMS, TLS on both sides. Usage: scripts/interop/nss.sh MODULE
. "$(dirname "$0")/lib.sh"
begin nss "${1:-}" certutil cmsutil selfserv tstclnt pk12util signtool
wants certutil libnss3-tools selfserv libnss3-tools
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
PORT=$(free_port) MUTUAL_PORT=$(free_port)
export PORT MUTUAL_PORT
# NSS copies the server's key with an empty template, which SoftHSM refuses.
is_softhsm && leave_out "A TLS server with its keys in the token" "A TLS client with its key in the token"
follow
pass
