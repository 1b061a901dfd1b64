"""Images: from a registry into containerd's content store, unpacked as snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from pyswarm.model import Healthcheck


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about its containers; times in seconds, `env` as NAME=VALUE."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()  # paths in the container
    healthcheck: Healthcheck | None = None
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is here and unpacked.

    `name` is the full reference, `digest` that of the index or manifest it names, `chain_id` the
    snapshot to prepare a container's file system from (empty for an image without layers).
    """

    name: str
    digest: str
    chain_id: str
    config: ImageConfig
