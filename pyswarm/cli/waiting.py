"""Waits for services, driven by a watch stream: progress as it happens, nothing is polled."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import REOPEN_SECONDS, REOPEN_TRIES, Connection
from pyswarm.cli.job_progress import wait_for
from pyswarm.cli.progress import (
    Convergence,
    Phase,
    measure,
    new_lines,
    repaint,
    service_lines,
    stack_lines,
)
from pyswarm.core import NEVER
from pyswarm.errors import NotFound, Unavailable
from pyswarm.model import Node, NodeState, Service, Task
from pyswarm.wire import from_message


class Painter:
    """Lines on a terminal in place, elsewhere each new line once."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._terminal = sys.stdout.isatty()

    def show(self, lines: list[str]) -> None:
        """Show these lines in place of the last ones."""
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            sys.stdout.write(repaint(len(self._lines), lines, columns))
        else:
            for line in new_lines(self._lines, lines):
                print(line)
        sys.stdout.flush()
        self._lines = lines


class _World:
    """What the watch has told so far."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.tasks: dict[str, Task] = {}
        self.nodes: dict[str, Node] = {}
        self.synced = False

    def take(self, event: Any) -> None:
        if event.action == control_pb2.WatchEvent.SYNCED:
            self.synced = True
            return
        word = event.WhichOneof("object")
        table: dict[str, Any] = getattr(self, word + "s")
        kind: type[Any] = {"service": Service, "task": Task, "node": Node}[word]
        record = from_message(kind, getattr(event, word))
        if event.action == control_pb2.WatchEvent.DELETE:
            table.pop(record.id, None)
        else:
            table[record.id] = record

    def nodes_up(self) -> dict[str, str]:
        """Names of the nodes that are up, by id."""
        return {n.id: n.hostname for n in self.nodes.values() if n.status.state == NodeState.READY}


async def wait_for_services(
    connection: Connection,
    services: Sequence[Service],
    quiet: bool = False,
    settled: Collection[str] = (),
) -> int:
    """Wait until each service has converged, or will not; the exit code (see `Outcome`).

    `settled` are the ids of services of which nothing was changed that concerns their tasks.
    """
    if not services:
        return 0
    now = time.monotonic()
    waits = {s.id: wait_for(s, s.id in settled, now) for s in services}
    painter, world = Painter(), _World()
    request = control_pb2.WatchRequest(
        kinds=["service", "task", "node"], services=list(waits), follow=True
    )
    events = _events(connection, request)
    pending: asyncio.Task[Any] = asyncio.ensure_future(anext(events))
    try:
        while True:
            deadline = min((wait.deadline() for wait in waits.values()), default=NEVER)
            left = None if deadline == NEVER else max(deadline - time.monotonic(), 0)
            await asyncio.wait([pending], timeout=left)
            while pending.done():
                event = pending.result()
                if event is None:
                    world = _World()
                else:
                    world.take(event)
                pending = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)
            if world.synced:
                _advance(waits, world)
                if not quiet:
                    lines = service_lines(next(iter(waits.values())))
                    painter.show(lines if len(waits) == 1 else stack_lines(waits.values()))
            else:
                for wait in waits.values():
                    wait.tick(time.monotonic())
            if all(wait.phase >= Phase.CONVERGED for wait in waits.values()):
                _explain(waits.values(), quiet or not world.synced)
                return max(wait.outcome for wait in waits.values())
    finally:
        pending.cancel()


async def _events(connection: Connection, request: control_pb2.WatchRequest) -> AsyncIterator[Any]:
    """The events of a watch that outlives leaders: None means that it began anew."""
    failures = 0
    while True:
        try:
            async for event in connection.stream(connection.control.Watch(request)):
                failures = 0
                yield event
        except Unavailable:
            failures += 1
            if failures > REOPEN_TRIES:
                raise
        await asyncio.sleep(REOPEN_SECONDS)
        yield None


async def follow(
    connection: Connection, kinds: Sequence[str], services: Sequence[str] = ()
) -> AsyncIterator[_World]:
    """All objects of these kinds, as they are now and again after each change; with `services`,
    only these and their tasks."""
    world = _World()
    request = control_pb2.WatchRequest(kinds=kinds, services=services, follow=True)
    async for event in _events(connection, request):
        if event is None:
            world = _World()
            continue
        world.take(event)
        if world.synced:
            yield world


def _explain(waits: Collection[Convergence], unseen: bool) -> None:
    """Say on stderr what has gone wrong, where the progress that ends with it was not shown."""
    for wait in waits:
        if unseen and wait.phase == Phase.FAILED:
            print(f"Error: {wait.service.spec.name}: {wait.verdict}", file=sys.stderr)


def _advance(waits: dict[str, Convergence], world: _World) -> None:
    now = time.monotonic()
    for service_id, wait in waits.items():
        service = world.services.get(service_id)
        if service is None:
            raise NotFound(f"service {wait.service.spec.name} was removed while it was waited for")
        wait.handle(service, measure(service, world.tasks.values(), world.nodes_up()), now)
        wait.tick(now)
