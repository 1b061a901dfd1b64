"""What a node remembers of the swarm that it is in: a small file, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pyswarm.crashpoints import reach
from pyswarm.errors import DataLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmMembership:
    """`address` is this node's own "host:port", `managers` those that it last heard of.

    `interface` is the one whose address it advertises, where it was named at init or join.
    `raft_id` belongs to the directory of the manager; 0 stands for the one of the node's id.
    While `passing` the node is neither in nor out: a new swarm is being founded on it, or it is
    leaving. A daemon that finds this after a crash takes the node out.
    """

    node_id: str
    cluster_id: str
    address: str
    manager: bool
    vxlan_port: int = 4789
    managers: tuple[str, ...] = ()
    interface: str = ""
    raft_id: int = 0
    passing: bool = False


class MembershipFile:
    """The file `swarm.json` in the state directory; absent while the node is in no swarm."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / "swarm.json"

    def load(self) -> SwarmMembership | None:
        """What was saved; raises DataLoss where the file cannot be read as such."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            stored = json.loads(content)
            stored["managers"] = tuple(stored["managers"])
            membership = SwarmMembership(**stored)
            _check_types(membership)
            return membership
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataLoss(
                f"{self._path} is damaged: restore it from a backup, or remove the state "
                "directory and join the swarm again"
            ) from error

    def save(self, membership: SwarmMembership) -> None:
        """Replace the file; after a crash it holds the old or the new content."""
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            reach("membership.draft-created")
            json.dump(asdict(membership), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        reach("membership.draft-synced")
        temporary.replace(self._path)
        reach("membership.renamed")
        self._sync_directory()

    def remove(self) -> None:
        """Forget the swarm."""
        self._path.unlink(missing_ok=True)
        reach("membership.removed")
        self._sync_directory()

    def _sync_directory(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _check_types(membership: SwarmMembership) -> None:
    """ValueError where a field is not what its annotation says."""
    for field in fields(membership):
        kind = {"str": str, "bool": bool, "int": int}.get(str(field.type), tuple)
        if type(getattr(membership, field.name)) is not kind:
            raise ValueError(f"{field.name} is no {field.type}")
    if not all(isinstance(address, str) for address in membership.managers):
        raise ValueError("managers are no addresses")
