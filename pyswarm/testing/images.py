"""Tiny images of one static busybox, in every form that a registry may hold."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from pyswarm.lab import images
from pyswarm.lab.images import INDEX_TYPE, MANIFEST_TYPE
from pyswarm.testing.lab import busybox_layer

DOCKER_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER_TYPE: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestImage:
    """What is pushed. `files` are added above busybox: path to text; `packing` is one of gzip,
    docker, plain, zstd; `lie` names a wrong content of the layers."""

    __test__ = False  # it is no test, whatever its name begins with
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    packing: str = "gzip"
    architecture: str = "amd64"
    lie: bool = False


@cache
def _busybox() -> bytes:
    return gzip.decompress(busybox_layer({}).packed)


def _pack(tar: bytes, packing: str) -> tuple[str, bytes]:
    if packing == "plain":
        return OCI_LAYER, tar
    if packing == "zstd":
        done = subprocess.run(["zstd", "-q", "-c"], input=tar, capture_output=True, check=True)
        return f"{OCI_LAYER}+zstd", done.stdout
    kind = DOCKER_LAYER_TYPE if packing == "docker" else f"{OCI_LAYER}+gzip"
    return kind, gzip.compress(tar, 1, mtime=0)


def push(registry: str, reference: str, image: TestImage) -> str:
    """Push to `host:port`; answers the manifest's digest."""
    host, _, port = registry.partition(":")
    files = {path: (text.encode(), 0o755) for path, text in image.files.items()}
    tars = [_busybox()]
    if files:
        tars.append(gzip.decompress(images.files_layer(files).packed))
    with tempfile.TemporaryDirectory() as directory:
        blobs = Path(directory, "blobs", "sha256")
        blobs.mkdir(parents=True)

        def store(data: bytes, kind: str) -> dict[str, Any]:
            digest = images.digest(data)
            (blobs / digest.removeprefix("sha256:")).write_bytes(data)
            return {"mediaType": kind, "digest": digest, "size": len(data)}

        layers = []
        for tar in tars:
            kind, data = _pack(tar, image.packing)
            layers.append(store(data, kind))
        diff_ids = [images.digest(b"other" if image.lie else tar) for tar in tars]
        config = {
            "architecture": image.architecture,
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], **image.config},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        kind = DOCKER_MANIFEST_TYPE if image.packing == "docker" else MANIFEST_TYPE
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": store(json.dumps(config).encode(), _CONFIG_TYPE),
            "layers": layers,
        }
        entry = store(json.dumps(manifest).encode(), kind)
        Path(directory, "index.json").write_text(json.dumps({"manifests": [entry]}))
        return images.push(Path(directory), reference, address=host, port=int(port))


def push_index(registry: str, reference: str, platforms: dict[str, str]) -> str:
    """Push an index over manifests that are there: architecture to the digest, all linux."""
    name, tag = images.split_reference(reference)
    connection = http.client.HTTPConnection(registry, timeout=30)
    manifests = []
    for architecture, digest in platforms.items():
        headers = {"Accept": MANIFEST_TYPE}
        connection.request("GET", f"/v2/{name}/manifests/{digest}", headers=headers)
        size = len(connection.getresponse().read())
        platform = {"os": "linux", "architecture": architecture}
        entry = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size, "platform": platform}
        manifests.append(entry)
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})
    headers = {"Content-Type": INDEX_TYPE}
    connection.request("PUT", f"/v2/{name}/manifests/{tag}", data.encode(), headers)
    response = connection.getresponse()
    said = response.read()
    assert response.status == 201, f"{response.status} {said!r}"
    connection.close()
    return images.digest(data.encode())
