"""OCI images in pure Python: layers from tar members, a layout on disk, a push to a registry.

A layout is the directory of the OCI image-layout specification, version 1.0.0, with one image in
it. A push speaks the OCI distribution specification, version 1.0, over plain HTTP.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyswarm.errors import InvalidArgument, SwarmError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TIMEOUT_SECONDS = 60.0
# What a package brings for a reader or for the package manager has no use in a container.
UNUSED = (
    "dev/",
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "usr/share/bug/",
    "var/cache/apt/",
    "var/lib/apt/",
    "var/lib/dpkg/",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as it travels: gzip bytes, and the digest of the tar inside them."""

    packed: bytes
    diff_id: str


def digest(data: bytes) -> str:
    """`sha256:` and the hexadecimal digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _pack(tar: bytes) -> Layer:
    # Level 1: an image of the lab is pushed once through the machine's own memory, so that the
    # seconds of packing count and the bytes do not. A fixed time keeps equal input equal.
    return Layer(packed=gzip.compress(tar, 1, mtime=0), diff_id=digest(tar))


def filesystem_layer(source: Path) -> Layer:
    """The layer of a root file system packed as a tar file, without what no container uses."""
    target = io.BytesIO()
    with (
        tarfile.open(source) as reader,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as writer,
    ):
        for member in reader:
            name = member.name.removeprefix("./")
            if name in ("", ".") or f"{name}/".startswith(UNUSED):
                continue
            member.name, member.mtime = name, 0
            if member.islnk():
                member.linkname = member.linkname.removeprefix("./")
            writer.addfile(member, reader.extractfile(member) if member.isreg() else None)
    return _pack(target.getvalue())


def files_layer(
    files: dict[str, tuple[bytes, int]],
    links: dict[str, str] | None = None,
    directories: Iterable[str] = (),
) -> Layer:
    """A layer of files (path: bytes and mode), symbolic links (path: target), directories."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as writer:
        for path in sorted(directories):
            member = tarfile.TarInfo(path)
            member.type = tarfile.DIRTYPE
            member.mode = 0o1777 if path in ("tmp", "var/tmp") else 0o755
            writer.addfile(member)
        for path, (data, mode) in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), mode
            writer.addfile(member, io.BytesIO(data))
        for path, aim in sorted((links or {}).items()):
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, aim
            writer.addfile(member)
    return _pack(target.getvalue())


def write_layout(directory: Path, layers: list[Layer], config: dict[str, Any]) -> str:
    """Write an image as an OCI layout, replacing what was there; returns the manifest's digest.

    `config` is the `config` object of the image specification: Cmd, Env, ExposedPorts, ...
    """
    blobs = directory / "blobs" / "sha256"
    shutil.rmtree(directory, ignore_errors=True)
    blobs.mkdir(parents=True)

    def store(data: bytes, kind: str) -> dict[str, Any]:
        name = digest(data)
        (blobs / name.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": kind, "digest": name, "size": len(data)}

    described = [store(layer.packed, LAYER_TYPE) for layer in layers]
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    image = {
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": store(json.dumps(image).encode(), CONFIG_TYPE),
        "layers": described,
    }
    entry = store(json.dumps(manifest).encode(), MANIFEST_TYPE)
    entry["platform"] = {"architecture": architecture, "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(entry["digest"])


def split_reference(reference: str) -> tuple[str, str]:
    """`shop-web:1` as (`shop-web`, `1`); the tag is `latest` where none is given."""
    name, _, tag = reference.partition(":")
    if not name or "/" in tag:
        raise InvalidArgument(f"an image of the lab's registry is NAME:TAG, not {reference!r}")
    return name, tag or "latest"


def push(directory: Path, reference: str, *, address: str, port: int) -> str:
    """Push the image of a layout to a registry as `reference` (NAME:TAG); the manifest's digest.

    Blobs that the registry has are not sent again. Call it where the address can be reached.
    """
    name, tag = split_reference(reference)
    try:
        index = json.loads((directory / "index.json").read_text())
        entry = index["manifests"][0]
    except (OSError, ValueError, LookupError):
        raise InvalidArgument(f"{directory} is not an OCI image layout") from None
    blobs = directory / "blobs" / "sha256"

    def blob(described: dict[str, Any]) -> bytes:
        return (blobs / str(described["digest"]).removeprefix("sha256:")).read_bytes()

    manifest = blob(entry)
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
    try:
        content = json.loads(manifest)
        for described in (content["config"], *content["layers"]):
            _push_blob(connection, name, str(described["digest"]), blob(described))
        headers = {"Content-Type": entry["mediaType"]}
        _request(connection, "PUT", f"/v2/{name}/manifests/{tag}", (201,), manifest, headers)
    except OSError as failure:
        raise SwarmError(f"the registry at {address}:{port} does not answer: {failure}") from None
    finally:
        connection.close()
    return str(entry["digest"])


def _push_blob(connection: http.client.HTTPConnection, name: str, sum_: str, data: bytes) -> None:
    if _request(connection, "HEAD", f"/v2/{name}/blobs/{sum_}", (200, 404))[0] == 200:
        return
    _, where = _request(connection, "POST", f"/v2/{name}/blobs/uploads/", (202,))
    parts = urlsplit(where)
    query = f"{parts.query}&digest={sum_}" if parts.query else f"digest={sum_}"
    headers = {"Content-Type": "application/octet-stream"}
    _request(connection, "PUT", f"{parts.path}?{query}", (201,), data, headers)


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    expected: tuple[int, ...],
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """The status, if it is an expected one, and the Location header."""
    connection.request(method, path, body=body, headers=headers or {})
    response = connection.getresponse()
    answer = response.read()
    if response.status not in expected:
        words = answer.decode(errors="replace").strip()
        raise SwarmError(f"the registry refused {method} {path}: {response.status} {words}")
    return response.status, response.getheader("Location", "")
