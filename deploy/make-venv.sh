#!/bin/sh
# Make .venv with this project in it: `make-venv.sh` for running, `make-venv.sh dev` for testing.
# Skipped when .venv was made from the same pyproject.toml, with the same or more in it.
set -eu
cd "$(dirname "$0")/.."
extra=${1:-}
sum=$(sha256sum pyproject.toml | cut -d' ' -f1)
stamp=.venv/.installed
for done in $extra dev; do
    [ "$(cat "$stamp-$done" 2>/dev/null)" != "$sum" ] || exit 0
done
[ -n "$extra" ] || [ "$(cat "$stamp-run" 2>/dev/null)" != "$sum" ] || exit 0
[ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
echo "installing Python packages into .venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
.venv/bin/pip install --quiet --editable ".${extra:+[$extra]}" </dev/null
echo "$sum" >"$stamp-${extra:-run}"
