# Shared by the interop scripts: a scratch directory with a fresh token in any module, steps, and the verdict.
#
# Each script takes a module's path, works on nothing outside its scratch directory, and ends with one line:
# PASS, or `FAIL: why`. Sourced, not run.

set -uo pipefail

SO_PIN=12345678
PIN=123456
LABEL=interop

# begin NAME MODULE: the scratch directory, a token with label $LABEL, and $MODULE.
begin() {
    CLIENT=$1
    [ $# -ge 2 ] && [ -n "$2" ] || { echo "usage: scripts/interop/$1.sh MODULE" >&2; exit 2; }
    MODULE=$(realpath "$2")
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    LOG=$WORK/log
    STEPS=0
    [ -f "$MODULE" ] || fail "there is no module $MODULE"
    for tool in pkcs11-tool openssl; do
        command -v "$tool" >/dev/null || fail "$tool is not installed (scripts/test --install)"
    done
    make_homes
    cd "$WORK" || fail "cannot enter $WORK"
    step "make a token" p11 --slot-index 0 --init-token --label "$LABEL" --so-pin "$SO_PIN"
    step "set the user PIN" p11 --token-label "$LABEL" --init-pin --login --login-type so --so-pin "$SO_PIN" --new-pin "$PIN"
}

# Every module finds its configuration and its data here; those of the user who runs this are out of reach.
make_homes() {
    mkdir -p "$WORK/home/.config" "$WORK/softhsm"
    export HOME=$WORK/home XDG_CONFIG_HOME=$WORK/home/.config XDG_DATA_HOME=$WORK/home/data
    export KEYWARD_CONF=$WORK/keyward.toml SOFTHSM2_CONF=$WORK/softhsm2.conf
    printf 'tokens = "%s/tokens"\ndevice_secret = "%s/device.secret"\n' "$WORK" "$WORK" >"$KEYWARD_CONF"
    printf 'directories.tokendir = %s/softhsm\nobjectstore.backend = file\nlog.level = ERROR\n' "$WORK" >"$SOFTHSM2_CONF"
    # p11-kit would read the system's registrations, and pkcs11-tool OpenSC's cards.
    unset KEYWARD_LOG_FILE PKCS11_MODULE_PATH OPENSSL_CONF
}

p11() {
    pkcs11-tool --module "$MODULE" "$@"
}

# As the user of the token.
tool() {
    p11 --token-label "$LABEL" --login --pin "$PIN" "$@"
}

fail() {
    echo "FAIL: $CLIENT: $*"
    exit 1
}

# step TEXT COMMAND...: runs it; its output is shown only when it fails.
step() {
    local text=$1
    shift
    if ! "$@" >"$LOG" 2>&1; then
        sed 's/^/    /' "$LOG" >&2
        fail "$text"
    fi
    STEPS=$((STEPS + 1))
    echo "ok  $text"
}

# refused TEXT COMMAND...: it must fail, and by an answer, not by a signal.
refused() {
    local text=$1 status
    shift
    "$@" >"$LOG" 2>&1
    status=$?
    [ "$status" -ne 0 ] || fail "$text: it was allowed"
    [ "$status" -lt 128 ] || fail "$text: ended by signal $((status - 128))"
    STEPS=$((STEPS + 1))
    echo "ok  $text"
}

pass() {
    [ "$STEPS" -gt 2 ] || fail "no step was run"
    echo "$CLIENT: $STEPS steps with $(basename "$MODULE")"
    echo PASS
}

# has MECHANISM: whether the module's list has it, as pkcs11-tool writes it.
has() {
    [ -n "${MECHANISMS:-}" ] || MECHANISMS=$(p11 --token-label "$LABEL" --list-mechanisms | sed -n 's/^  *\([A-Za-z0-9_-]*\),.*/\1/p')
    grep -qx -- "$1" <<<"$MECHANISMS"
}

# needs MECHANISM...: the rest of the script works with these.
needs() {
    local mechanism
    for mechanism in "$@"; do
        has "$mechanism" || fail "the module does not list $mechanism"
    done
}

# Limits of other modules, so that the scripts can be proven on them. Ours has none.
is_softhsm() {
    [ "$(basename "$MODULE")" = libsofthsm2.so ]
}
