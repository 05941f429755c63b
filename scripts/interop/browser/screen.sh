# A screen that nobody sees, for browsers, and hands at its keyboard. Sourced after lib.sh.

# tenths SECONDS: a word for each tenth of a second that is waited; of a browser under valgrind, twenty times as many.
tenths() {
    seq $(($1 * 10 * ${VALGRIND:+20 *} 1))
}

# settle: a window that is there is not painted, and has not the keyboard yet.
settle() {
    sleep $((1 ${VALGRIND:+* 20}))
}

# screen: an X server on a free display, which is then $DISPLAY.
screen() {
    Xvfb -displayfd 3 -screen 0 1000x700x24 3>display >xvfb.log 2>&1 &
    echo $! >xvfb.pid
    local _
    for _ in $(tenths 10); do
        [ -s display ] && break
        sleep 0.1
    done
    DISPLAY=:$(cat display)
    export DISPLAY
    xdotool getdisplaygeometry
}

# The titles as the programs mean them: a search for one looks at the older property, which may lack letters.
titles() {
    xdotool search --name '.+' getwindowname %@ 2>/dev/null | sort -u
}

# window TITLE: waits until there is a window with this in its title.
window() {
    local _
    for _ in $(tenths 60); do
        titles | grep -q -- "$1" && return 0
        sleep 0.1
    done
    echo "there is no window \"$1\" but:"
    titles
    import -window root "${PICTURES:-.}/$CLIENT-failed.png"
    return 1
}

# greets VERSION: starts a server on loopback that wants a certificate; its address is $ADDRESS, its log greeted.VERSION.
greets() {
    local port
    port=$(free_port)
    ADDRESS=https://localhost:$port/
    python3 "$INTEROP/browser/server.py" "$port" "$1" >"greeted.$1" 2>&1 &
    echo $! >"server.$1.pid"
    listening "$port"
}

# greeted VERSION: waits until it has greeted the subject of our certificate, and keeps a picture of it.
greeted() {
    local _
    for _ in $(tenths 20); do
        grep -q "^greeted A Person TLSv$1" "greeted.$1" && break
        sleep 0.1
    done
    window "hello A Person" || return 1
    settle
    import -window root "$CLIENT-$1.png"
    [ -z "${PICTURES:-}" ] || cp "$CLIENT-$1.png" "$PICTURES"
    cat "greeted.$1"
    grep -q "^greeted A Person TLSv$1" "greeted.$1"
}

# leaves PID: the browser has been told to go, and must do so by itself, and not by a crash.
leaves() {
    local ended _
    # On a busy machine Firefox takes long; an end that hangs it makes a crash of by itself, after a minute.
    for _ in $(tenths 70); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -0 "$1" 2>/dev/null && {
        echo "the browser hangs at exit"
        import -window root "${PICTURES:-.}/$CLIENT-failed.png"
        return 1
    }
    wait "$1"
    ended=$?
    [ $ended -lt 128 ] || { echo "the browser ended by signal $((ended - 128))"; return 1; }
}

want_screen() {
    wants Xvfb xvfb xdotool xdotool import imagemagick certutil libnss3-tools '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
}
