#!/bin/bash
# systemd-cryptenroll: a LUKS volume's key slot, opened by an RSA key in the token.
# Usage: scripts/interop/systemd-cryptenroll.sh MODULE
. "$(dirname "$0")/lib.sh"
not_as_root systemd-cryptenroll "${1:-}" systemd-cryptenroll systemd /usr/sbin/cryptsetup cryptsetup-bin p11tool gnutls-bin
begin systemd-cryptenroll "${1:-}" systemd-cryptenroll cryptsetup p11tool certtool
needs RSA-PKCS-KEY-PAIR-GEN RSA-PKCS
follow
pass
