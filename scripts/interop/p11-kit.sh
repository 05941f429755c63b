#!/bin/bash
# p11-kit: a registration in a user's configuration, URIs, the proxy, and the server, which is another process.
# Usage: scripts/interop/p11-kit.sh MODULE
. "$(dirname "$0")/lib.sh"
not_as_root p11-kit "${1:-}" p11-kit p11-kit p11tool gnutls-bin '/usr/lib/*/pkcs11/p11-kit-client.so' p11-kit-modules
begin p11-kit "${1:-}" p11-kit p11tool
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN SHA256-RSA-PKCS ECDSA
# A login to SoftHSM rewrites what the others read.
is_softhsm && leave_out "Many clients at once"
follow
pass
