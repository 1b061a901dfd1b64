"""How long writes pause when the leader goes on purpose: its daemon stops, or it is drained."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import cluster
from faults import config_request
from figures import Measured

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection
from pyswarm.model import Availability, Node, NodeSpec
from pyswarm.testing.lab import LabDriver
from pyswarm.wire import from_message, to_message

BEFORE_SECONDS = 0.5


class Writer:
    """One write after the other by one client; `pause` is the longest time between two answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = time.monotonic()
        self.pause = 0.0

    async def run(self) -> None:
        """Write until cancelled; a write that is refused ends the measurement."""
        self._last = time.monotonic()
        while True:
            call = self._connection.control.CreateConfig(config_request(), timeout=20)
            await self._connection.call(call)
            now = time.monotonic()
            self.pause, self._last = max(self.pause, now - self._last), now

    async def until_answered(self, since: float) -> None:
        """Until an answer has come after that moment: a write that waits still is a pause too."""
        while self._last < since:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def writing(connection: Connection) -> AsyncIterator[Writer]:
    """A client that writes inside the block, and has not failed."""
    writer = Writer(connection)
    task = asyncio.ensure_future(writer.run())
    try:
        await asyncio.sleep(BEFORE_SECONDS)
        yield writer
        await asyncio.sleep(BEFORE_SECONDS)
        ended = asyncio.ensure_future(writer.until_answered(time.monotonic()))
        await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if task.done():
            task.result()
    finally:
        task.cancel()


async def set_availability(connection: Connection, name: str, availability: Availability) -> None:
    """As `node update --availability` does."""
    reference = control_pb2.Reference(ref=name)
    node = from_message(Node, await connection.call(connection.control.GetNode(reference)))
    spec = NodeSpec(labels=node.spec.labels, role=node.spec.role, availability=availability)
    request = control_pb2.UpdateNodeRequest(
        id=node.id, version=node.meta.version, spec=to_message(spec)
    )
    await connection.call(connection.control.UpdateNode(request))


async def planned_leader_change(
    driver: LabDriver, runs: int, progress: Callable[[str], None]
) -> dict[str, Measured]:
    """The longest pause of a client on another manager, for stops and drains in turn. The value is
    the median of the kind that does worse, so that the easy one does not hide the other."""
    managers = [name for name in driver.hosts if name.startswith("m")]
    samples: dict[str, list[float]] = {"stopped": [], "drained": []}
    for number in range(2 * runs):
        stop = number % 2 == 0
        leader = await cluster.leader_host(driver, managers)
        other = next(name for name in managers if name != leader)
        async with cluster.connect(driver, other) as connection:
            try:
                async with writing(connection) as writer:
                    if stop:
                        await asyncio.to_thread(driver.hold_daemon, leader, down=True)
                    else:
                        await set_availability(connection, leader, Availability.DRAIN)
            finally:
                if stop:
                    await asyncio.to_thread(driver.hold_daemon, leader, down=False)
                else:
                    await set_availability(connection, leader, Availability.ACTIVE)
        word = "stopped" if stop else "drained"
        samples[word].append(writer.pause * 1000)
        progress(f"leader {leader} {word}: writes paused for {samples[word][-1]:.0f} ms")
    worst = max(statistics.median(kind) for kind in samples.values())
    every = (*samples["stopped"], *samples["drained"])
    return {"planned_leader_change_ms_p50": Measured(worst, samples=every)}
