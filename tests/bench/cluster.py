"""A lab of its own for the figures, and what a client sees of it: calls and one watch stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection, socket_path
from pyswarm.errors import SwarmError
from pyswarm.lab import host, layout, machine, swarm
from pyswarm.model import Node, ServiceSpec, Task
from pyswarm.model.states import NodeState, TaskState
from pyswarm.testing.lab import LabDriver
from pyswarm.wire import from_message, to_message

LAB = "bench"
DEADLINE_SECONDS = 90.0


@contextmanager
def lab(managers: int, workers: int, progress: Callable[[str], None]) -> Iterator[LabDriver]:
    """Hosts that form a swarm; gone afterwards, whatever happened."""
    planned = layout.plan(LAB, managers=managers, workers=workers, daemon=True, publish=())
    created = machine.Lab.create(planned, progress)  # refuses where one is there already
    try:
        swarm.form(created, progress)
        yield LabDriver(created)
    finally:
        for line in machine.remove(planned):
            progress(f"could not be removed: {line}")


def connect(driver: LabDriver, name: str) -> Connection:
    """A client of a host's daemon."""
    return Connection(socket_path(driver.socket(name)))


def rss_mb(driver: LabDriver, name: str) -> float:
    """The resident memory of a host's daemon, in MiB."""
    pid = host.program_pid(driver.lab.layout, name, "daemon")
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmRSS"].split()[0]) / 1024


class Watched:
    """The nodes and tasks as a watch stream tells them, with the moment of each message."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, Task] = {}
        self.synced = False
        self._changed = asyncio.Event()

    async def follow(self, connection: Connection) -> None:
        """Read the stream; it begins anew where it breaks."""
        request = control_pb2.WatchRequest(kinds=["node", "task"], follow=True)
        while True:
            with suppress(SwarmError):
                async for event in connection.stream(connection.control.Watch(request)):
                    self._take(event)
                    self._changed.set()
            await asyncio.sleep(0.1)

    def _take(self, event: Any) -> None:
        if event.action == control_pb2.WatchEvent.SYNCED:
            self.synced = True
            return
        kind: type[Any] = Node if event.WhichOneof("object") == "node" else Task
        table: dict[str, Any] = self.nodes if kind is Node else self.tasks
        record = from_message(kind, getattr(event, event.WhichOneof("object")))
        if event.action == control_pb2.WatchEvent.DELETE:
            table.pop(record.id, None)
        else:
            table[record.id] = record

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true answer of `condition`, looked at after each message."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not (found := condition()):
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}") from None

    def running(self, service_id: str) -> list[Task]:
        """The tasks of a service that run and shall run."""
        return [
            task
            for task in self.tasks.values()
            if task.service_id == service_id
            and task.status.state == TaskState.RUNNING
            and task.desired_state == TaskState.RUNNING
        ]

    def is_up(self, hostname: str) -> bool:
        """Whether a host's node is Ready."""
        return any(
            node.hostname == hostname and node.status.state == NodeState.READY
            for node in self.nodes.values()
        )


@asynccontextmanager
async def watching(driver: LabDriver, name: str) -> AsyncIterator[tuple[Connection, Watched]]:
    """A client of one host and what it is told."""
    async with connect(driver, name) as connection:
        watched = Watched()
        following = asyncio.ensure_future(watched.follow(connection))
        try:
            await watched.until(lambda: watched.synced, "the watch stream answers")
            yield connection, watched
        finally:
            following.cancel()


async def create_service(connection: Connection, spec: ServiceSpec) -> str:
    """The id of a new service."""
    request = control_pb2.CreateServiceRequest(spec=to_message(spec))
    created = await connection.call(connection.control.CreateService(request))
    return str(created.id)


async def remove_service(connection: Connection, watched: Watched, service_id: str) -> None:
    """Remove a service and wait for the end of its tasks."""
    reference = control_pb2.Reference(ref=service_id)
    await connection.call(connection.control.RemoveService(reference))
    await watched.until(lambda: not watched.running(service_id), "the service's tasks end")


async def leader_host(driver: LabDriver, managers: list[str]) -> str:
    """The host that leads, once all managers are reachable."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        for name in managers:
            with suppress(SwarmError):
                async with connect(driver, name) as connection:
                    answer = await connection.call(
                        connection.control.ListNodes(control_pb2.ListRequest(), timeout=5)
                    )
                nodes = [from_message(Node, node) for node in answer.nodes]
                status = {node.hostname: node.manager for node in nodes if node.manager is not None}
                good = [each for each in status.values() if each.reachability.name == "REACHABLE"]
                if len(good) == len(managers):
                    return next(host for host, each in status.items() if each.leader)
        await asyncio.sleep(0.3)
    raise AssertionError("the managers do not come together")
