#!/bin/bash
# Rust: the crate cryptoki. Usage: scripts/interop/rust.sh MODULE
. "$(dirname "$0")/lib.sh"
begin rust "${1:-}"
command -v cargo >/dev/null || fail "there is no cargo"
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN AES-KEY-GEN RSA-PKCS ECDSA AES-CBC-PAD AES-GCM
kept target
follow "Build"
[ -z "${VALGRIND:-}" ] || under_valgrind target/debug/interop-client
follow Run
pass
