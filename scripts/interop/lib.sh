# Shared by the interop scripts: a scratch directory with a fresh token in any module, steps, and the verdict.
#
# Each script takes a module's path, works on nothing outside its scratch directory, and ends with one line:
# PASS, or `FAIL: why`. Sourced, not run.

set -uo pipefail

GUIDES=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../docs/clients")
INTEROP=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
# shellcheck disable=SC1091
. "$INTEROP/../needs.sh"

export SO_PIN=12345678
export PIN=123456
export LABEL=interop

# begin NAME MODULE PROGRAM...: the scratch directory, a token with label $LABEL, and $MODULE. PROGRAM: the client's own, which
# load the module; with VALGRIND set they run under it.
begin() {
    CLIENT=$1
    [ $# -ge 2 ] && [ -n "$2" ] || { echo "usage: scripts/interop/$1.sh MODULE" >&2; exit 2; }
    MODULE=$(realpath "$2")
    WORK=$(mktemp -d)
    trap clean EXIT
    LOG=$WORK/log
    STEPS=0
    [ -f "$MODULE" ] || fail "there is no module $MODULE"
    for tool in pkcs11-tool openssl; do
        command -v "$tool" >/dev/null || fail "$tool is not installed (scripts/test --install)"
    done
    make_homes
    PATH=$PATH:/usr/sbin:/sbin # servers, and tools kept with them
    export MODULE LABEL PIN SO_PIN INTEROP
    export -f listening
    cd "$WORK" || fail "cannot enter $WORK"
    [ -z "${VALGRIND:-}" ] || under_valgrind "${@:3}"
    step "make a token" p11 --slot-index 0 --init-token --label "$LABEL" --so-pin "$SO_PIN"
    step "set the user PIN" p11 --token-label "$LABEL" --init-pin --login --login-type so --so-pin "$SO_PIN" --new-pin "$PIN"
    [ -z "${DISTURB:-}" ] || { disturb "$PIN" & echo $! >disturber.pid; }
}

# under_valgrind PROGRAM...: from now on these run under valgrind, up to the last of their exit handlers; `pass` looks at what it
# saw. Undefined values are the clients' own matter. VALGRIND_OPTIONS: more of valgrind's own. $CLIENT.supp: the client's own
# errors, which other modules show as well.
under_valgrind() {
    local program real options="--quiet --undef-value-errors=no ${VALGRIND_OPTIONS:-}"
    command -v valgrind >/dev/null || fail "valgrind is not installed (scripts/test --install)"
    mkdir -p "$WORK/shims" "$WORK/valgrind"
    # valgrind reads a module's debugging information in each process, which takes longer than what most of them do.
    [ -e "$WORK/light" ] || {
        mkdir "$WORK/light"
        strip --strip-debug -o "$WORK/light/$(basename "$MODULE")" "$MODULE" || fail "strip is not installed (scripts/test --install)"
        MODULE=$WORK/light/$(basename "$MODULE")
    }
    [ ! -e "$INTEROP/$CLIENT.supp" ] || options+=" --suppressions='$INTEROP/$CLIENT.supp'"
    for program in "$@"; do
        real=$(command -v "$program") || fail "$program is not installed (scripts/test --install)"
        # A path is replaced in its place, a name in the search path.
        local shim=$WORK/shims/$program
        [[ $program != */* ]] || { mv "$program" "$program.real" && real=$WORK/$program.real shim=$WORK/$program; }
        printf '#!/bin/sh\nexec valgrind %s --log-file="%s/%%p" "%s" "$@"\n' "$options" "$WORK/valgrind" "$real" >"$shim"
        chmod 755 "$shim"
    done
    PATH=$WORK/shims:$PATH
}

# No read or write of memory that is not the process's own; and some process was there to be looked at.
valgrind_is_silent() {
    local seen
    seen=$(find valgrind -type f | wc -l)
    echo "$seen processes"
    [ "$seen" -gt 0 ] && ! accused valgrind/* | grep ''
}

# accused LOG...: what valgrind saw amiss, each with where. With RUNTIME set, of a program that compiles its own code and handles
# its own faults, only that in which the module has a part: by the access itself, or by having made or released the memory.
accused() {
    awk -v module="${RUNTIME:+/$(basename "$MODULE"))}" '
        function judge() { if (text != "" && (module == "" || index(text, module))) printf "%s", text; text = "" }
        { sub(/^==[0-9]+== ?/, "") }
        FNR == 1 || $0 == "" { judge() }
        /^(Invalid|Mismatched|Process terminating|Jump to the invalid)/ { judge(); text = FILENAME "\n" }
        text != "" { text = text $0 "\n" }
        END { judge() }' "$@"
}

# finds_fault COMMAND...: the command calls C_GetInfo of the module faulty.so, and what valgrind says of it is understood.
finds_fault() {
    cc -Wall -Wextra -Werror -shared -fPIC -I/usr/include/p11-kit-1 "$INTEROP/faulty.c" -o faulty.so -ldl || return 1
    FAULTY_OVER=$MODULE timeout 600 "$@" || return 1
    MODULE=$WORK/faulty.so accused valgrind/* | grep "get_info.*faulty"
}

# not_as_root NAME MODULE WANTS...: installs what `wants` would; then, as root, runs the script as nobody, with copies of
# scripts, pages and module, since they may lie where only their owner may look. p11-kit ignores a user's own
# configuration when root runs it.
not_as_root() {
    CLIENT=$1
    [ -f "${2:-}" ] || fail "there is no module ${2:-}"
    LOG=/dev/null
    wants "${@:3}"
    [ "$(id -u)" -eq 0 ] || return 0
    local place status
    place=$(mktemp -d)
    mkdir "$place/scripts" "$place/docs"
    cp -r "$INTEROP" "$INTEROP/../needs.sh" "$place/scripts"
    cp -r "$GUIDES" "$place/docs"
    cp "$2" "$place"
    chown -R nobody "$place"
    HOME=$place setpriv --reuid=nobody --clear-groups -- bash "$place/scripts/interop/$1.sh" "$place/$(basename "$2")"
    status=$?
    rm -rf "$place"
    exit $status
}

# With DISTURB set, until the script ends: processes that make and delete keys and change the PIN (to itself, so that the
# client's own logins go on), some of them killed in the middle of it. `pass` looks whether the token has stood it.
disturb() {
    local pin=$1 round=0
    local as_user=(pkcs11-tool --module "$MODULE" --token-label "$LABEL" --login --pin "$pin")
    while :; do
        round=$((round + 1))
        # Java takes no key store in which two keys share a label.
        "${as_user[@]}" --keygen --key-type AES:32 --id dd --label "disturber-$round"
        "${as_user[@]}" --change-pin --new-pin "$pin"
        timeout --signal=KILL "0.0$((RANDOM % 90 + 10))" "${as_user[@]}" --change-pin --new-pin "$pin"
        timeout --signal=KILL "0.0$((RANDOM % 90 + 10))" "${as_user[@]}" --keygen --key-type AES:32 --id dd --label "disturber-$round-cut"
        while "${as_user[@]}" --delete-object --type secrkey --id dd; do :; done
        echo "$round" >disturbed
    done >/dev/null 2>&1
}

stood() {
    local disturber _
    disturber=$(cat disturber.pid)
    # A client may be done before the disturbance has come round.
    for _ in $(seq 200); do
        [ "$(cat disturbed 2>/dev/null || echo 0)" -lt 2 ] || break
        sleep 0.1
    done
    kill "$disturber"
    wait "$disturber" 2>/dev/null
    rm -f disturber.pid
    echo "$(cat disturbed) rounds"
    [ "$(cat disturbed)" -ge 2 ] && tool --list-objects && tool --keygen --key-type AES:32 --id de --label after
}

# Servers leave their process IDs in *.pid of the scratch directory, so that none outlives the script.
clean() {
    local file
    cd / || return
    for file in "$WORK"/*.pid; do
        [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null
    done
    # What was killed may have a child that still writes.
    rm -rf "$WORK" 2>/dev/null || { sleep 2; rm -rf "$WORK"; }
}

# Every module finds its configuration and its data here; those of the user who runs this are out of reach.
make_homes() {
    mkdir -p "$WORK/home/.config" "$WORK/softhsm"
    # Compilers and package managers keep their own places.
    export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
    export NPM_CONFIG_USERCONFIG=${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc} NPM_CONFIG_CACHE=${NPM_CONFIG_CACHE:-$HOME/.npm}
    export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$HOME/.cache/pip} PIP_DISABLE_PIP_VERSION_CHECK=1
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

# follow TITLE...: runs the `sh` blocks under these headings of docs/clients/$CLIENT.md as a reader would, in the scratch
# directory: each heading is one step and one shell. Without a title: the whole page.
# The page is the only place where a client's commands stand; the script adds what a reader need not do.
follow() {
    local titles=("$@") title
    [ $# -gt 0 ] || mapfile -t titles < <(sed -n '/^```/,/^```/d; s/^## //p' "$GUIDES/$CLIENT.md")
    for title in "${titles[@]}"; do
        [[ "${LEFT_OUT:-}" != *"|$title|"* ]] || continue
        block "$title" >"$WORK/block"
        [ $# -eq 0 ] || [ -s "$WORK/block" ] || fail "docs/clients/$CLIENT.md has no commands under \"$title\""
        [ ! -s "$WORK/block" ] || step "$title" bash -euo pipefail "$WORK/block"
    done
}

# leave_out TITLE...: what a limit of the module at hand makes impossible.
leave_out() {
    local title
    for title in "$@"; do
        LEFT_OUT="${LEFT_OUT:-}|$title|"
    done
}

# refuse TITLE: the commands under this heading must fail.
refuse() {
    block "$1" >"$WORK/block"
    [ -s "$WORK/block" ] || fail "docs/clients/$CLIENT.md has no commands under \"$1\""
    refused "$1" bash -euo pipefail "$WORK/block"
}

# A line `! COMMAND` is one that must fail; the shell's own errexit does not look at those.
block() {
    awk -v title="## $1" '
        /^```/ { fenced = !fenced; ours = fenced && here && $0 == "```sh"; next }
        !fenced && /^## / { here = ($0 == title) }
        fenced && ours && sub(/^ *! /, "") { print "if " $0 "; then echo \"this must fail, and did not: line $LINENO\"; exit 1; fi"; next }
        fenced && ours' "$GUIDES/$CLIENT.md"
}

# wants COMMAND-OR-FILE PACKAGE...: the client itself. Installed where this machine allows it, else the script fails.
wants() {
    local -a MISSING=()
    while [ $# -gt 0 ]; do
        need "$1" "$2"
        shift 2
    done
    [ ${#MISSING[@]} -eq 0 ] || install_missing >"$LOG" 2>&1 || fail "cannot install ${MISSING[*]}"
}

# backport PACKAGE: unpacked into backport/ of the scratch directory, from the backports of this machine's Debian; what
# is installed, and where from, stays as it is.
backport() {
    local place=$WORK/backport suite package
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
    mkdir -p "$place/lists/partial" "$place/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >"$place/sources.list"
    local apt=(-o Dir::Etc::sourcelist="$place/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$place" -o Dir::Cache="$place"
        -o Dir::State::status=/var/lib/dpkg/status -o APT::Sandbox::User=root)
    apt-get "${apt[@]}" -qq update && (cd "$place" && apt-get "${apt[@]}" -qq download "$1/$suite") || return 1
    package=$(find "$place" -name "$1_*.deb")
    dpkg-deb -x "$package" "$place/root"
}

# kept NAME: where $INTEROP_KEEP names a directory, NAME in the scratch directory leads into it: what is installed or compiled
# there serves the next run too. One script at a time has it.
kept() {
    [ -n "${INTEROP_KEEP:-}" ] || return 0
    mkdir -p "$INTEROP_KEEP/$CLIENT"
    exec {KEPT}>"$INTEROP_KEEP/$CLIENT.lock"
    flock "$KEPT"
    ln -s "$INTEROP_KEEP/$CLIENT" "$WORK/$1"
}

# A port that nothing listens on now, for a server on loopback.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# listening PORT: waits until something does; valgrind takes its time.
listening() {
    local _
    for _ in $(seq "${VALGRIND:+9}100"); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}

pass() {
    [ "$STEPS" -gt 2 ] || fail "no step was run"
    [ -z "${DISTURB:-}" ] || step "the token has stood the disturbance" stood
    [ -z "${VALGRIND:-}" ] || step "valgrind saw nothing amiss" valgrind_is_silent
    echo "$CLIENT: $STEPS steps with $(basename "$MODULE")"
    echo PASS
    exit 0
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
