"""Build the image of an `image.json` from Debian packages, as an OCI layout on disk.

`python deploy/images/build.py DIRECTORY [OUTPUT]`, where DIRECTORY holds `image.json`:

    packages     Debian packages, with their dependencies, from mmdebstrap --variant=extract
    files        path in the image: file beside image.json; executable when that is
    links        symbolic links: path in the image to target
    directories  empty directories
    config       the image configuration of OCI: Cmd, Env, ExposedPorts, ...

No maintainer script of a package runs, so no user exists: /etc/passwd and /etc/group are written
here. The layer of packages is kept in the cache by its list of packages; the rest takes no time.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from pyswarm.lab.images import Layer, files_layer, filesystem_layer, write_layout

SUITE = "bookworm"
CACHE = Path(os.environ.get("PYSWARM_DEMO_CACHE", "/var/cache/pyswarm-demo"))
PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = b"root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"
NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\n"
DIRECTORIES = ("etc", "proc", "root", "run", "sys", "tmp", "var", "var/tmp")


def packages_layer(packages: list[str]) -> Layer:
    """The layer of Debian packages, from the cache when it is there."""
    key = hashlib.sha256(json.dumps([SUITE, sorted(packages)]).encode()).hexdigest()[:16]
    packed, described = CACHE / f"{key}.tar.gz", CACHE / f"{key}.json"
    if described.exists():
        return Layer(packed=packed.read_bytes(), diff_id=json.loads(described.read_text()))
    CACHE.mkdir(parents=True, exist_ok=True)
    draft = CACHE / f"{key}.draft.tar"
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(packages)}"]
    try:
        result = subprocess.run(
            [*command, SUITE, str(draft)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            sys.exit(f"mmdebstrap could not fetch {', '.join(packages)}: {result.stderr.strip()}")
        layer = filesystem_layer(draft)
    finally:
        draft.unlink(missing_ok=True)
    packed.write_bytes(layer.packed)
    described.write_text(json.dumps(layer.diff_id))
    return layer


def build(directory: Path, output: Path) -> str:
    """Build the image of `directory` into the layout `output`; returns the manifest's digest."""
    recipe = json.loads((directory / "image.json").read_text())
    written = {"etc/passwd": PASSWD, "etc/group": GROUP, "etc/nsswitch.conf": NSSWITCH}
    files = {target: (data, 0o644) for target, data in written.items()}
    for target, source in recipe.get("files", {}).items():
        path = directory / source
        mode = 0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else 0o644
        files[target] = (path.read_bytes(), mode)
    layers = [
        packages_layer(recipe["packages"]),
        files_layer(files, recipe.get("links"), [*DIRECTORIES, *recipe.get("directories", [])]),
    ]
    return write_layout(output, layers, recipe["config"])


if __name__ == "__main__":
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("build/images") / source.name
    print(target, build(source, target))
