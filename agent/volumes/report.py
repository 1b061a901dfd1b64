"""What a node says of its volumes."""

from __future__ import annotations

from dataclasses import dataclass

from pyswarm.model import VolumeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeVolume:
    """A volume that is here; `tasks` are the ids of those that have it mounted, sorted."""

    spec: VolumeSpec
    created_at: float = 0.0
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeReport:
    """Every volume of the node, sorted by name, and the bytes that removed ones have freed."""

    volumes: tuple[NodeVolume, ...] = ()
    removed: tuple[tuple[str, int], ...] = ()
