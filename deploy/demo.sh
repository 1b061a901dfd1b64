#!/bin/bash
# `demo.sh up`: five hosts on this machine, the shop on them. `demo.sh down`: all of it away.
set -euo pipefail
cd "$(dirname "$0")/.."
managers=${DEMO_MANAGERS:-3} workers=${DEMO_WORKERS:-2} port=8080
pyswarm=$PWD/.venv/bin/pyswarm
lab() { .venv/bin/python -m pyswarm.lab "$@"; }
say() { printf '\n== %s\n' "$*"; }

down() { lab down; }

# Wait for a condition: wait_until SECONDS WORDS COMMAND...
wait_until() {
    local end=$((SECONDS + $1)) words=$2
    shift 2
    until "$@"; do
        if [ $SECONDS -ge $end ]; then
            echo "demo: $words; look with: pyswarm lab logs m1" >&2
            return 1
        fi
        sleep 0.5
    done
}

converged() { # every service has as many running tasks as it wants
    local replicas
    replicas=$("$pyswarm" service ls --format json |
        sed -n 's/.*"Replicas": *"\([^" ]*\).*/\1/p') || return 1
    [ "$(wc -l <<<"$replicas")" = 3 ] && ! grep -qv '^\([0-9]*\)/\1$' <<<"$replicas"
}

page() { # the published page through one host, fetched from the hub
    lab exec hub curl --silent --fail --max-time 10 "http://$1:$port/"
}

up() {
    if [ "$(id -u)" != 0 ]; then
        echo "make demo makes namespaces and therefore needs root: sudo make demo" >&2
        return 1
    fi
    local hosts image
    down
    say "images, from Debian packages"
    for image in web api cache; do
        .venv/bin/python deploy/images/build.py deploy/examples/shop/$image
    done

    say "lab: $managers managers, $workers workers"
    lab up --managers "$managers" --workers "$workers" --publish $port:$port
    export PYSWARM_HOST=unix:///run/pyswarm-lab/default/m1/pyswarm.sock
    for image in web api cache; do lab push build/images/$image shop-$image:1; done

    say "pyswarm stack deploy -c deploy/examples/shop/compose.yml shop"
    "$pyswarm" stack deploy -c deploy/examples/shop/compose.yml shop
    wait_until 120 "the services of shop are not all running" converged
    for command in "node ls" "service ls" "stack ps shop"; do
        say "pyswarm $command"
        # shellcheck disable=SC2086  # two words are meant
        "$pyswarm" $command
    done

    say "the published page, through each host"
    hosts=$(lab ls --format json | sed -n 's/^ *"name": "\(.*\)",$/\1/p')
    for host in $hosts; do
        wait_until 30 "http://$host:$port/ does not answer" page "$host" >/tmp/pyswarm-demo-page.$$
        printf '%-3s %s\n' "$host" "$(cat /tmp/pyswarm-demo-page.$$)"
    done
    rm -f /tmp/pyswarm-demo-page.$$

    say "what to type next"
    cat <<END
export PYSWARM_HOST=$PYSWARM_HOST PATH=$PWD/.venv/bin:\$PATH
curl http://localhost:$port/           the page, from outside the lab
pyswarm service scale shop_api=5
pyswarm service logs shop_api
pyswarm lab kill w1                    cut the power of a host; then: pyswarm stack ps shop
pyswarm lab start w1
make demo-down                         remove everything
END
}

case ${1:-} in
up) up ;;
down) down ;;
*) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
