#!/bin/bash
# nginx with both keys in the token: handshakes by all workers under load, over reloads and killed workers; curl with a
# client key in the token. Usage: scripts/interop/nginx.sh MODULE
. "$(dirname "$0")/lib.sh"
begin nginx "${1:-}" nginx curl
wants nginx nginx-light curl curl '/usr/lib/*/engines-*/pkcs11.so' libengine-pkcs11-openssl
needs RSA-PKCS-KEY-PAIR-GEN ECDSA-KEY-PAIR-GEN RSA-PKCS ECDSA

# As root, nginx would run its workers as somebody who may not read the token of this test.
PORT=$(free_port) MUTUAL_PORT=$(free_port)
export PORT MUTUAL_PORT
[ "$(id -u)" -ne 0 ] || nginx() { command nginx -g "user root;" "$@"; }
export -f nginx 2>/dev/null
follow

# load: TLS handshakes from four clients, until `settled`; the first failure of each is kept.
load() {
    local client
    rm -f load.failed load.count.* load.enough
    for client in 1 2 3 4; do
        while [ ! -e load.enough ]; do
            [ "$(curl --silent --max-time 20 --cacert ec.crt "https://localhost:$PORT/")" = "from the token" ] ||
                { echo "client $client failed" >>load.failed; break; }
            echo >>"load.count.$client"
        done &
        CLIENTS+=($!)
    done
}
handshakes() {
    cat load.count.* 2>/dev/null | wc -l
}
# more COUNT: waits until there were so many more.
more() {
    local until _
    until=$(($(handshakes) + $1))
    for _ in $(seq 600); do
        [ "$(handshakes)" -lt "$until" ] || return 0
        [ ! -e load.failed ] || break
        sleep 0.1
    done
    return 1
}
settled() {
    more 20
    local status=$?
    touch load.enough
    wait "${CLIENTS[@]}"
    CLIENTS=()
    [ $status -eq 0 ] && [ ! -e load.failed ] || { cat load.failed; tail -n 20 nginx.log; return 1; }
}
workers() {
    pgrep -P "$(cat nginx.pid)"
}
CLIENTS=()
load
reloads() {
    local before
    for _ in 1 2 3; do
        more 5 || return 1
        before=$(workers | sort | head -1)
        kill -HUP "$(cat nginx.pid)"
        for _ in $(seq 100); do
            sleep 0.1
            kill -0 "$before" 2>/dev/null || break
        done
    done
    [ "$(workers | wc -l)" -ge 4 ]
}
step "three reloads under load" reloads
step "  no handshake failed" settled

# A worker that dies takes its own connections with it; those that come after it must be served.
kill_workers() {
    local worker
    local before=" $(workers | tr '\n' ' ')" _
    for worker in $before; do
        kill -KILL "$worker"
    done
    for _ in $(seq 100); do
        sleep 0.1
        [ "$(for worker in $(workers); do [[ $before == *" $worker "* ]] || echo "$worker"; done | wc -l)" -ne 4 ] || return 0
    done
    return 1
}
step "all workers killed: there are new ones" kill_workers
load
step "  no handshake failed" settled

PORT=$PORT step "a key is made while nginx runs" tool --keypairgen --key-type EC:prime256v1 --id 09 --label later
load
step "  no handshake failed" settled

stops() {
    kill -QUIT "$(cat nginx.pid)"
    for _ in $(seq 100); do
        [ -e nginx.pid ] || break
        sleep 0.1
    done
    [ ! -e nginx.pid ] && ! grep -E 'exited on signal (6|11)' nginx.log
}
step "it stops, and nothing in it has crashed" stops
pass
