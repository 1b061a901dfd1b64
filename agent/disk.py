"""What the agent remembers across a restart, in small files below `<state>/worker`.

    tasks/<task id>       the assigned task with its last status
    networks/<id>         the last endpoint set of a network
    managers              one address a line
    node                  this node's record as the managers last sent it
    contact               when a manager last answered, in monotonic seconds, where leases count

A file is replaced by renaming a finished one over it, so a reader never sees half of one. There is
no fsync: what a power cut takes away are the last seconds, their containers died with it, and the
managers send everything again. For the same reason a file that cannot be read is dropped. Secrets
are never written; a config's content is not either, it lies beside the container that shows it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pyswarm.crashpoints import reach
from pyswarm.errors import InvalidArgument
from pyswarm.model import EndpointSet, Node, Task
from pyswarm.wire import decode, encode

log = logging.getLogger(__name__)

Record = TypeVar("Record")


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path` in one step."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    reach("worker.draft-written")
    temporary.replace(path)
    reach("worker.file-replaced")


class WorkerState:
    """The files of one agent; `directory` is made where it is missing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tasks = directory / "tasks"
        self._networks = directory / "networks"
        for path in (directory, self._tasks, self._networks):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def tasks(self) -> list[Task]:
        """The tasks that were assigned, each with its last status, sorted by id."""
        return self._load(self._tasks, Task)

    def save_task(self, task: Task) -> None:
        """Remember a task and its status."""
        write_file(self._tasks / task.id, encode(task))

    def drop_task(self, task_id: str) -> None:
        """Forget a task."""
        (self._tasks / task_id).unlink(missing_ok=True)
        reach("worker.task-dropped")

    def networks(self) -> list[EndpointSet]:
        """The endpoint sets, sorted by network id."""
        return self._load(self._networks, EndpointSet)

    def save_network(self, network_id: str, encoded: bytes) -> None:
        """Remember an endpoint set, which the caller has encoded."""
        write_file(self._networks / network_id, encoded)

    def drop_network(self, network_id: str) -> None:
        """Forget an endpoint set."""
        (self._networks / network_id).unlink(missing_ok=True)

    def managers(self) -> tuple[str, ...]:
        """The managers' addresses as they were last known."""
        try:
            return tuple((self._directory / "managers").read_text().split())
        except (FileNotFoundError, UnicodeDecodeError):
            return ()

    def save_managers(self, addresses: Iterable[str]) -> None:
        """Remember where the managers are."""
        write_file(self._directory / "managers", "\n".join(addresses).encode() + b"\n")

    def node(self) -> Node | None:
        """This node's record, if a manager ever sent it."""
        return self._read(self._directory / "node", Node)

    def save_node(self, node: Node) -> None:
        """Remember this node's record."""
        write_file(self._directory / "node", encode(node))

    def contact(self, now: float) -> float:
        """The last contact; `now` where none is known. (One in the future is of an earlier boot,
        which no container outlived.)"""
        try:
            at = float((self._directory / "contact").read_text())
        except (FileNotFoundError, ValueError):
            return now
        return at if at <= now else now

    def save_contact(self, at: float) -> None:
        """Remember the last contact."""
        write_file(self._directory / "contact", repr(at).encode())

    def wipe(self) -> None:
        """Forget everything: the node left the swarm."""
        for folder in (self._tasks, self._networks):
            for path in folder.iterdir():
                path.unlink()
        for name in ("managers", "node", "contact"):
            (self._directory / name).unlink(missing_ok=True)

    def _load(self, folder: Path, kind: type[Record]) -> list[Record]:
        found = [self._read(path, kind) for path in sorted(folder.iterdir())]
        return [record for record in found if record is not None]

    def _read(self, path: Path, kind: type[Record]) -> Record | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if path.name.startswith("."):
            path.unlink()
            return None
        try:
            record = decode(kind, data)
        except InvalidArgument:
            log.warning("%s cannot be read and is dropped: the managers know its content", path)
            path.unlink()
            return None
        # Of an empty file comes an empty record: that is what a power cut leaves of a new file.
        return record if data else None
