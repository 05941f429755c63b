#!/bin/bash
# GnuTLS: p11tool, certtool, gnutls-serv and gnutls-cli. Usage: scripts/interop/gnutls.sh MODULE
. "$(dirname "$0")/lib.sh"
begin gnutls "${1:-}" p11tool certtool gnutls-serv gnutls-cli
wants p11tool gnutls-bin certtool gnutls-bin gnutls-serv gnutls-bin
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
PORT=$(free_port)
export PORT
# SoftHSM takes another mechanism for Ed25519 than GnuTLS.
is_softhsm && leave_out "Make an Ed25519 key"
follow
GNUTLS_PIN=000000 refused "a wrong PIN" p11tool --provider="$MODULE" --batch --login --list-privkeys "pkcs11:token=$LABEL"
pass
