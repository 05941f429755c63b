#!/bin/bash
# Chromium on a screen that nobody sees: TLS client authentication with a key in the token, certificate and PIN chosen by
# the keyboard. The pictures go to $PICTURES, if set. Usage: scripts/interop/chromium.sh MODULE
. "$(dirname "$0")/lib.sh"
. "$INTEROP/browser/screen.sh"
begin chromium "${1:-}"
wants chromium chromium
want_screen
needs ECDSA-KEY-PAIR-GEN ECDSA
follow
step "a screen" screen

# The list of certificates is a part of the page's window, and takes the keyboard when it is there.
chosen() {
    local _
    for _ in $(seq 20); do
        sleep 1
        grep -q "^greeted" "greeted.$1" && return 0
        xdotool key Return
    done
}

session() {
    greets "$1" || return 1
    # Its sandbox refuses to run as root.
    local sandbox=()
    [ "$(id -u)" -ne 0 ] || sandbox=(--no-sandbox)
    chromium "${sandbox[@]}" --no-first-run --no-default-browser-check --disable-gpu --disable-dev-shm-usage --password-store=basic \
        --disable-background-networking --user-data-dir="$WORK/chromium-$1" "$ADDRESS" >chromium.log 2>&1 &
    local browser=$!
    echo $browser >chromium.pid
    window "Unlock Security Device" || return 1
    sleep 1
    xdotool type --delay 50 "$PIN"
    xdotool key Return
    chosen "$1" || return 1
    greeted "$1" || return 1
    xdotool key ctrl+shift+w
    leaves $browser
}
for version in 1.2 1.3; do
    step "TLS $version with a client certificate of the token" session $version
done
pass
