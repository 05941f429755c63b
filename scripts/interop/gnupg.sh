#!/bin/bash
# GnuPG by gnupg-pkcs11-scd: S/MIME and OpenPGP with a key in the token. Usage: scripts/interop/gnupg.sh MODULE
. "$(dirname "$0")/lib.sh"
begin gnupg "${1:-}" gnupg-pkcs11-scd
wants gnupg-pkcs11-scd gnupg-pkcs11-scd gpgsm gpgsm gpg-agent gpg-agent gpg-connect-agent gpgconf gpg gpg
needs RSA-PKCS-KEY-PAIR-GEN RSA-PKCS
# The agent serves until it is told to stop, also when a step fails.
trap 'gpgconf --homedir "$WORK/gnupg" --kill gpg-agent; clean' EXIT
follow
pass
