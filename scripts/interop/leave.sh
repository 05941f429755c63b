#!/bin/bash
# Hosts that end without C_Finalize, or with it in an exit handler: no crash, no hang, and no invalid access that valgrind
# sees. Usage: scripts/interop/leave.sh MODULE
. "$(dirname "$0")/lib.sh"
begin leave "${1:-}"
wants valgrind valgrind cc gcc /usr/include/p11-kit-1/p11-kit/pkcs11.h libp11-kit-dev
needs RSA-PKCS-KEY-PAIR-GEN SHA256-RSA-PKCS
step "compile the host" cc -Wall -Wextra -Werror -g -I/usr/include/p11-kit-1 "$INTEROP/leave.c" -o leave -ldl -lpthread
step "generate RSA-2048" tool --keypairgen --key-type rsa:2048 --id 01 --label rsa

ways="exit active-operation thread-that-ends threads-at-work fork _exit quick_exit finalize-in-atexit"
# SoftHSM takes a forked child for its parent, and its libcrypto is gone when a late exit handler, or a thread that
# still signs, comes to it.
is_softhsm && ways="exit active-operation thread-that-ends _exit quick_exit"
for way in $ways; do
    step "the host ends by $way" timeout 30 ./leave "$MODULE" "$LABEL" "$PIN" "$way"
    # Threads that valgrind runs one after the other show nothing more, and take very long; `_exit` runs nothing, and a
    # plain exit nothing that the next in the list does not.
    [[ " threads-at-work _exit exit " == *" $way "* ]] ||
        step "  valgrind sees no invalid access" timeout 300 valgrind --quiet --error-exitcode=9 --undef-value-errors=no \
            ./leave "$MODULE" "$LABEL" "$PIN" "$way"
done
again() {
    for _ in $(seq 20); do
        timeout 30 ./leave "$MODULE" "$LABEL" "$PIN" threads-at-work || return 1
    done
}
is_softhsm || step "threads at work, twenty times" again
pass
