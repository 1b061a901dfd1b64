"""The JSON of an image: index, manifest, configuration (OCI image specification 1.0, Docker's
image manifest version 2, schema 2). Nothing in it is believed before it is looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import Healthcheck, Platform
from pyswarm.registry.reference import is_digest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPES: Final = frozenset(
    [
        OCI_INDEX,
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)
MANIFEST_TYPES: Final = frozenset(
    [
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)
_LAYER_PREFIXES: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.diff.",
    "application/vnd.docker.image.rootfs.foreign.diff.",
)
CONFIG_BYTES_MAX: Final = 4 << 20
_PLATFORMS_MAX: Final = 64
_LAYERS_MAX: Final = 500  # overlayfs takes as many lower directories, Docker allows 127 layers
_SECOND: Final = 1_000_000_000  # the configuration counts in nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What points to a blob; `size` in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image for one platform: its configuration, and its layers from the lowest up."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about its containers; `env` as NAME=VALUE."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()  # paths in the container
    healthcheck: Healthcheck | None = None
    exposed_ports: tuple[str, ...] = ()  # as 80/tcp


class _Reader:
    """Takes JSON apart, and says which image is not what it should be."""

    def __init__(self, name: str) -> None:
        self._name = name

    def wrong(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"image {self._name} is damaged or of a kind unknown here: {what}")

    def document(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise self.wrong("a document is no JSON") from None
        return self.object(found, "a document")

    def object(self, value: Any, what: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise self.wrong(f"{what} is no JSON object")
        return value

    def list(self, value: Any, what: str) -> list[Any]:
        if type(value) is not list:
            raise self.wrong(f"{what} is no list")
        return value

    def text(self, value: Any, what: str) -> str:
        if value is None:
            return ""
        if type(value) is not str or "\0" in value:
            raise self.wrong(f"{what} is no text")
        return value

    def texts(self, value: Any, what: str) -> tuple[str, ...]:
        return tuple(self.text(each, what) for each in self.list(value or [], what))

    def number(self, value: Any, what: str) -> int:
        if value is None:
            return 0
        if type(value) is not int or value < 0:
            raise self.wrong(f"{what} is no number from 0 on")
        return value

    def descriptor(self, value: Any) -> Descriptor:
        each = self.object(value, "a descriptor")
        digest = self.text(each.get("digest"), "a digest")
        if not is_digest(digest):
            raise self.wrong(f"{digest[:80]!r} is no sha256 digest")
        return Descriptor(
            media_type=self.text(each.get("mediaType"), "a media type"),
            digest=digest,
            size=self.number(each.get("size"), "a size"),
        )


def platform_manifest(name: str, data: bytes, architecture: str) -> Descriptor:
    """The manifest in an index that is for Linux on `architecture` ("amd64", "arm64").

    Raises InvalidArgument where there is none; `name` is the image's, for that sentence.
    """
    reader = _Reader(name)
    offered = set()
    for each in reader.list(reader.document(data).get("manifests"), "the list of manifests"):
        entry = reader.object(each, "a manifest")
        platform = reader.object(entry.get("platform") or {}, "a platform")
        system, machine = str(platform.get("os", "")), str(platform.get("architecture", ""))
        if (system, machine) == ("linux", architecture):
            return reader.descriptor(entry)
        offered.add(f"{system}/{machine}"[:40])
    offers = ", ".join(sorted(offered)[:8]) or "nothing"
    raise InvalidArgument(
        f"image {name} is not for linux/{architecture}, the platform of this node: it is for"
        f" {offers}"
    )


def index_platforms(name: str, data: bytes) -> tuple[Platform, ...]:
    """The platforms of the manifests in an index; attestations, which are for none, are left out.

    Raises InvalidArgument.
    """
    reader = _Reader(name)
    found: dict[Platform, None] = {}
    for each in reader.list(reader.document(data).get("manifests"), "the list of manifests"):
        platform = reader.object(reader.object(each, "a manifest").get("platform") or {}, "it")
        system = reader.text(platform.get("os"), "os")
        machine = reader.text(platform.get("architecture"), "architecture")
        if system and machine and "unknown" not in (system, machine):
            found[Platform(os=system, architecture=machine)] = None
    if len(found) > _PLATFORMS_MAX:
        raise reader.wrong(f"it is for more than {_PLATFORMS_MAX} platforms")
    return tuple(found)


def config_platform(name: str, data: bytes) -> Platform | None:
    """The platform that the configuration of an image names; raises InvalidArgument."""
    reader = _Reader(name)
    said = reader.document(data)
    system, machine = reader.text(said.get("os"), "os"), reader.text(said.get("architecture"), "it")
    return Platform(os=system, architecture=machine) if system and machine else None


def media_type(name: str, data: bytes, sent_as: str = "") -> str:
    """One of INDEX_TYPES or MANIFEST_TYPES: by the document's own word, else by that of its
    registry, else by its shape. Raises InvalidArgument for other kinds."""
    reader = _Reader(name)
    said = reader.document(data)
    own = reader.text(said.get("mediaType"), "mediaType")
    for kind in (own, sent_as):
        if kind in INDEX_TYPES | MANIFEST_TYPES:
            return kind
    if own:
        raise reader.wrong(f"its manifest is {own[:80]!r}")
    return OCI_INDEX if "manifests" in said else OCI_MANIFEST


def parse_manifest(name: str, data: bytes) -> Manifest:
    """Raises InvalidArgument for what is no manifest of a file system in layers."""
    reader = _Reader(name)
    said = reader.document(data)
    if said.get("schemaVersion") != 2:
        raise reader.wrong("its manifest is not of schema version 2")
    config = reader.descriptor(said.get("config"))
    if config.size > CONFIG_BYTES_MAX:
        raise reader.wrong(f"its configuration has more than {CONFIG_BYTES_MAX} bytes")
    layers = tuple(map(reader.descriptor, reader.list(said.get("layers"), "the list of layers")))
    if len(layers) > _LAYERS_MAX:
        raise reader.wrong(f"it has {len(layers)} layers, {_LAYERS_MAX} are the limit")
    for layer in layers:
        if not layer.media_type.startswith(_LAYER_PREFIXES):
            raise reader.wrong(f"a layer is {layer.media_type[:80]!r}")
    return Manifest(config=config, layers=layers)


def parse_config(name: str, data: bytes, architecture: str) -> tuple[ImageConfig, tuple[str, ...]]:
    """The configuration, and the digests of the unpacked layers from the lowest up.

    Raises InvalidArgument, also for an image that is for another platform than this node's.
    """
    reader = _Reader(name)
    said = reader.document(data)
    built_for = (reader.text(said.get("os"), "os"), reader.text(said.get("architecture"), "it"))
    if built_for != ("linux", architecture):
        raise InvalidArgument(
            f"image {name} is for {'/'.join(built_for)}, not for linux/{architecture}, the"
            " platform of this node"
        )
    file_system = reader.object(said.get("rootfs") or {}, "rootfs")
    diff_ids = reader.texts(file_system.get("diff_ids"), "diff_ids")
    if not all(map(is_digest, diff_ids)):
        raise reader.wrong("the digest of an unpacked layer is no sha256 digest")
    config = reader.object(said.get("config") or {}, "config")
    found = ImageConfig(
        entrypoint=reader.texts(config.get("Entrypoint"), "Entrypoint"),
        command=reader.texts(config.get("Cmd"), "Cmd"),
        env=reader.texts(config.get("Env"), "Env"),
        workdir=reader.text(config.get("WorkingDir"), "WorkingDir"),
        user=reader.text(config.get("User"), "User"),
        stop_signal=reader.text(config.get("StopSignal"), "StopSignal"),
        volumes=tuple(sorted(reader.object(config.get("Volumes") or {}, "Volumes"))),
        healthcheck=_healthcheck(reader, config.get("Healthcheck")),
        exposed_ports=tuple(sorted(reader.object(config.get("ExposedPorts") or {}, "ports"))),
    )
    return found, diff_ids


def _healthcheck(reader: _Reader, value: Any) -> Healthcheck | None:
    if not value:
        return None
    said = reader.object(value, "Healthcheck")
    test = reader.texts(said.get("Test"), "the health check's Test")
    return Healthcheck(
        test=test,
        interval_seconds=reader.number(said.get("Interval"), "Interval") / _SECOND,
        timeout_seconds=reader.number(said.get("Timeout"), "Timeout") / _SECOND,
        start_period_seconds=reader.number(said.get("StartPeriod"), "StartPeriod") / _SECOND,
        retries=reader.number(said.get("Retries"), "Retries"),
        start_interval_seconds=reader.number(said.get("StartInterval"), "StartInterval") / _SECOND,
    )


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The name of each layer together with all below it (OCI image specification, "ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        both = f"{chain[-1]} {diff_id}".encode() if chain else b""
        chain.append(f"sha256:{hashlib.sha256(both).hexdigest()}" if chain else diff_id)
    return tuple(chain)
