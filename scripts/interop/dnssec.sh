#!/bin/bash
# DNSSEC: Knot's keymgr, kzonesign; OpenDNSSEC's ods-hsmutil. Usage: scripts/interop/dnssec.sh MODULE
. "$(dirname "$0")/lib.sh"
begin dnssec "${1:-}" keymgr kzonesign ods-hsmutil
wants kzonesign knot-dnssecutils keymgr knot kzonecheck knot-dnssecutils ods-hsmutil libhsm-bin
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA
follow
pass
