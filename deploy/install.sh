#!/bin/sh
# Install pyswarm on a real machine (Debian 12, root): packages, /opt/pyswarm, the systemd unit.
# Run it in a checkout, on every machine; then `pyswarm swarm init` on the first one.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "install.sh: installing needs root" >&2
    exit 1
fi
deploy/install-packages.sh
[ -x /opt/pyswarm/bin/python ] || /usr/bin/python3 -m venv /opt/pyswarm
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    /opt/pyswarm/bin/pip install --quiet --upgrade . </dev/null
ln -sf /opt/pyswarm/bin/pyswarm /usr/local/bin/pyswarm
install -D -m 644 deploy/systemd/pyswarm.service /etc/systemd/system/pyswarm.service
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now containerd.service pyswarm.service
    echo "pyswarm runs; on the first machine type: pyswarm swarm init"
else
    echo "pyswarm is installed; this machine has no systemd, start it with: pyswarm daemon"
fi
