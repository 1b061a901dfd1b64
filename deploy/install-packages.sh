#!/bin/sh
# Install the Debian packages that pyswarm, its lab, its demo and its tests use.
# Idempotent and quiet; a package whose program is there already is left alone, because another
# source may have brought it (containerd.io of Docker, for example). No service is started.
set -eu

programs='
containerd:containerd
runc:runc
nft:nftables
ip:iproute2
nsenter:util-linux
unshare:util-linux
mount:mount
docker-registry:docker-registry
mmdebstrap:mmdebstrap
busybox:busybox-static
curl:curl
ps:procps
setpriv:util-linux
iptables:iptables
tini-static:tini
zstd:zstd
dig:bind9-dnsutils
make:make
git:git
python3:python3
'
missing=
for pair in $programs; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
# These have no program to look for.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "install-packages.sh: these Debian packages are missing and need root to install:$missing" >&2
    exit 1
fi

# A policy of the machine's own stays in force; without one, ours refuses every start of a
# service for as long as this script runs: containerd and the registry belong to the lab's hosts.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi

echo "installing Debian packages:$missing"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # the names are meant to be split
install() { apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 </dev/null; }
# Package lists may be absent or out of date: then, and only then, fetch them.
if ! install; then
    apt-get update -qq >>"$log" 2>&1 || true
    if ! install; then
        cat "$log" >&2
        rm -f "$log"
        echo "install-packages.sh: apt-get could not install:$missing" >&2
        exit 1
    fi
fi
rm -f "$log"
