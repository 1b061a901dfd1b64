"""Volumes: directories of nodes that outlive the tasks which fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.model.meta import Meta

LOCAL: Final = "local"
OPTION_NAMES: Final = frozenset({"type", "o", "device"})
"""The options of Docker's local driver: file system, mount options, device."""

_ELSEWHERE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "glusterfs"})
_KEEPS_NOTHING: Final = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """A volume as the user wants it. `driver_options` are those of Docker's local driver: `type`,
    `o` and `device`, as for mount(8); without them it is a directory of the node."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = LOCAL
    driver_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def stays_on_node(self) -> bool:
        """Whether the data is on the node alone, so that a task must go where it is."""
        kind = self.driver_options.get("type", "")
        return kind not in _ELSEWHERE and kind not in _KEEPS_NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOnNode:
    """The volume on one node. `slots` ("web.1") are those whose data it holds: their tasks come
    back here. A `released` one draws no task: the user gave its data up, or it is older."""

    node_id: str = ""
    slots: tuple[str, ...] = ()
    created_at: float = 0.0
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A name that is a directory of its own on each of `nodes` (sorted by id). With
    `pending_delete` its nodes remove it, and the record goes with the last of them."""

    id: str = ""
    meta: Meta = Meta()
    spec: VolumeSpec = VolumeSpec()
    nodes: tuple[VolumeOnNode, ...] = ()
    pending_delete: bool = False
    freed_bytes: int = 0
    """What the nodes have freed of it so far while it is being removed."""
