#!/bin/bash
# Firefox ESR on a screen that nobody sees: TLS client authentication with a key in the token, the PIN typed into its
# prompt. The pictures go to $PICTURES, if set. Usage: scripts/interop/firefox.sh MODULE
. "$(dirname "$0")/lib.sh"
. "$INTEROP/browser/screen.sh"
# Firefox compiles what its pages run, and lets itself be told of faults. Its processes for pages, which have no module, are not
# looked at, and their sandboxes do not go with a parent under valgrind.
RUNTIME=yes VALGRIND_OPTIONS="--smc-check=all-non-file --error-limit=no"
[ -z "${VALGRIND:-}" ] || export MOZ_DISABLE_CONTENT_SANDBOX=1 MOZ_DISABLE_SOCKET_PROCESS_SANDBOX=1 MOZ_DISABLE_RDD_SANDBOX=1
begin firefox "${1:-}" firefox-esr
wants firefox-esr firefox-esr
want_screen
needs ECDSA-KEY-PAIR-GEN ECDSA
follow
step "a screen" screen
[ -z "${VALGRIND:-}" ] || cat >>profile/user.js <<END
user_pref("network.http.connection-timeout", 3000);
user_pref("network.http.tls-handshake-timeout", 3000);
user_pref("toolkit.asyncshutdown.crash_timeout", 3000000);
END

session() {
    greets "$1" || return 1
    firefox-esr --no-remote --profile "$WORK/profile" "$ADDRESS" >firefox.log 2>&1 &
    local browser=$!
    echo $browser >firefox.pid
    window "Password Required" || return 1
    settle
    xdotool type --delay 50 "$PIN"
    xdotool key Return
    greeted "$1" || return 1
    xdotool key ctrl+q
    leaves $browser
}
# NSS calls C_GetInfo of what it loads.
faulty_session() {
    mkdir faulty && certutil -N -d sql:faulty --empty-password && modutil -dbdir sql:faulty -add faulty -libfile "$WORK/faulty.so" -force &&
        firefox-esr --no-remote --profile "$WORK/faulty" --headless --screenshot "$WORK/faulty.png" about:blank
}
export -f faulty_session
export WORK
for version in 1.2 1.3; do
    step "TLS $version with a client certificate of the token" session $version
done
[ -z "${VALGRIND:-}" ] || {
    wants cc gcc /usr/include/p11-kit-1/p11-kit/pkcs11.h libp11-kit-dev
    step "a fault of a module is found in Firefox" finds_fault bash -c faulty_session
}
pass
