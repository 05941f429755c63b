#!/bin/bash
# Firefox ESR on a screen that nobody sees: TLS client authentication with a key in the token, the PIN typed into its
# prompt. The pictures go to $PICTURES, if set. Usage: scripts/interop/firefox.sh MODULE
. "$(dirname "$0")/lib.sh"
. "$INTEROP/browser/screen.sh"
begin firefox "${1:-}"
wants firefox-esr firefox-esr
want_screen
needs ECDSA-KEY-PAIR-GEN ECDSA
follow
step "a screen" screen

session() {
    greets "$1" || return 1
    firefox-esr --no-remote --profile "$WORK/profile" "$ADDRESS" >firefox.log 2>&1 &
    local browser=$!
    echo $browser >firefox.pid
    window "Password Required" || return 1
    sleep 1
    xdotool type --delay 50 "$PIN"
    xdotool key Return
    greeted "$1" || return 1
    xdotool key ctrl+q
    leaves $browser
}
for version in 1.2 1.3; do
    step "TLS $version with a client certificate of the token" session $version
done
pass
