"""What a node remembers of the swarm that it is in: a small file, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pyswarm.errors import DataLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmMembership:
    """`address` is this node's own "host:port", `managers` those that it last heard of.

    `interface` is the one whose address it advertises, where it was named at init or join.
    `raft_id` belongs to the directory of the manager; 0 stands for the one of the node's id.
    """

    node_id: str
    cluster_id: str
    address: str
    manager: bool
    vxlan_port: int = 4789
    managers: tuple[str, ...] = ()
    interface: str = ""
    raft_id: int = 0


class MembershipFile:
    """The file `swarm.json` in the state directory; absent while the node is in no swarm."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / "swarm.json"

    def load(self) -> SwarmMembership | None:
        """What was saved; raises DataLoss where the file cannot be read as such."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        try:
            fields = json.loads(text)
            fields["managers"] = tuple(fields["managers"])
            return SwarmMembership(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise DataLoss(
                f"{self._path} is damaged: restore it from a backup, or remove the state "
                "directory and join the swarm again"
            ) from error

    def save(self, membership: SwarmMembership) -> None:
        """Replace the file; after a crash it holds the old or the new content."""
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump(asdict(membership), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self) -> None:
        """Forget the swarm."""
        self._path.unlink(missing_ok=True)
