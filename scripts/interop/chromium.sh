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

# Asked for the certificate, whose list is a part of the page's window and takes the keyboard when it is there, and for the
# PIN: which comes first differs from version to version.
answered() {
    local _
    for _ in $(seq 60); do
        sleep 1
        grep -q "^greeted" "greeted.$1" && return 0
        if xdotool search --onlyvisible --name "Unlock Security Device" >/dev/null 2>&1; then
            xdotool type --delay 50 "$PIN"
        fi
        xdotool key Return
    done
    import -window root "${PICTURES:-.}/$CLIENT-failed.png"
    return 1
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
    answered "$1" || return 1
    greeted "$1" || return 1
    xdotool key ctrl+shift+w
    leaves $browser
}
for version in 1.2 1.3; do
    step "TLS $version with a client certificate of the token" session $version
done
pass
