"""`replicas_1000_ms`: from the request that creates a service of 1,000 replicas until the swarm
says that all of them run; five hosts, three of them managers, with the fake runtime.

Each host is a whole daemon in a process of its own, with raft on disk, mutual TLS, sessions and
agents; containers and namespaces are remembered only (`fake_daemon.py`). Measured with one client
that asks for the service's count, so that no watch stream takes part. The median of several runs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from figures import Measured

from pyswarm.api.v1 import control_pb2, local_pb2
from pyswarm.cli.connection import Connection
from pyswarm.errors import SwarmError
from pyswarm.model import ClusterSpec, ContainerSpec, Node, NodeState, ServiceSpec, TaskSpec
from pyswarm.wire import from_message, to_message

NAMES = ("replicas_1000_ms",)
REPLICAS, HOSTS, MANAGERS = 1000, 5, 3
ASK_SECONDS = 0.02
DEADLINE_SECONDS = 120.0


class Host:
    """One daemon on an address of the loopback of its own."""

    def __init__(self, number: int, directory: Path) -> None:
        self.name = f"h{number}"
        self.address = f"127.0.77.{number}"
        # As on a host, where this is in memory.
        run = Path("/dev/shm", directory.name, self.name)
        self.socket = run / "pyswarm.sock"
        own = directory / self.name
        own.mkdir()
        argv = [sys.executable, str(Path(__file__).with_name("fake_daemon.py")), "daemon"]
        argv += ["--state-dir", str(own / "state"), "--run-dir", str(run)]
        argv += ["--hostname", self.name, "--advertise-addr", self.address]
        self.log = own / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)

    def answers(self) -> bool:
        """Whether it is there; fails with its last words where it has ended."""
        words = self.log.read_text().strip().splitlines()[-1:]
        assert self.process.poll() is None, f"the daemon of {self.name} has ended: {words}"
        return self.socket.exists()

    def cpu_seconds(self) -> float:
        """What the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End the daemon."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


async def until(ready: Callable[[], object], what: str) -> None:
    """Wait for what the machine does by itself."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not ready():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS:.0f} s: {what}"
        await asyncio.sleep(ASK_SECONDS)


@asynccontextmanager
async def swarm(directory: Path) -> AsyncIterator[tuple[list[Host], Connection]]:
    """Five hosts in one swarm, and a client of the first; the daemons end afterwards."""
    hosts = [Host(number, directory) for number in range(1, HOSTS + 1)]
    try:
        await until(lambda: all(host.answers() for host in hosts), "the daemons answer")
        async with Connection(hosts[0].socket) as first:
            await first.call(
                first.local.Init(local_pb2.InitRequest(spec=to_message(ClusterSpec())))
            )
            tokens = await first.call(first.control.GetJoinTokens(control_pb2.Empty()))
            for number, host in enumerate(hosts[1:], 2):
                token = tokens.manager if number <= MANAGERS else tokens.worker
                request = local_pb2.JoinRequest(token=token, addresses=[tokens.manager_address])
                async with Connection(host.socket) as own:
                    await own.call(own.local.Join(request))
            await ready(first)
            yield hosts, first
    finally:
        for host in reversed(hosts):
            host.stop()


async def ready(connection: Connection) -> None:
    """Wait until every node takes tasks."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        answer = await connection.call(connection.control.ListNodes(control_pb2.ListRequest()))
        nodes = [from_message(Node, message) for message in answer.nodes]
        if sum(node.status.state == NodeState.READY for node in nodes) == HOSTS:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the nodes do not come up")


async def count(connection: Connection, service_id: str) -> int:
    """How many tasks of the service run."""
    wanted = control_pb2.Filters(ids=[service_id])
    request = control_pb2.ListRequest(filters=wanted)
    answer = await connection.call(connection.control.ListServices(request))
    return sum(int(each.running) for each in answer.services)


async def one(connection: Connection) -> float:
    """The milliseconds of one service; it is gone afterwards."""
    spec = ServiceSpec(
        name="web",
        replicas=REPLICAS,
        task=TaskSpec(container=ContainerSpec(image="registry.example/web:1")),
    )
    begun = time.monotonic()
    request = control_pb2.CreateServiceRequest(spec=to_message(spec))
    service_id = (await connection.call(connection.control.CreateService(request))).id
    while await count(connection, service_id) < REPLICAS:
        took = time.monotonic() - begun
        assert took < DEADLINE_SECONDS, "the replicas do not all run"
        await asyncio.sleep(ASK_SECONDS)
    took = time.monotonic() - begun
    reference = control_pb2.Reference(ref=service_id)
    await connection.call(connection.control.RemoveService(reference))
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        try:
            await connection.call(connection.control.GetService(reference))
        except SwarmError:
            return took * 1000
        await asyncio.sleep(0.1)
    raise AssertionError("the service does not go")


async def run(runs: int, progress: Callable[[str], None]) -> list[float]:
    """All runs, in one swarm."""
    directory = Path(tempfile.mkdtemp(prefix="pyswarm-bench-", dir="/var/tmp"))
    try:
        async with swarm(directory) as (hosts, connection):
            found = []
            for _ in range(runs):
                before = [host.cpu_seconds() for host in hosts]
                found.append(await one(connection))
                used = [host.cpu_seconds() - was for host, was in zip(hosts, before, strict=True)]
                progress(
                    f"1,000 replicas after {found[-1]:,.0f} ms; CPU seconds of the hosts, "
                    f"removal included: {', '.join(f'{each:.1f}' for each in used)}"
                )
            return found
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(Path("/dev/shm", directory.name), ignore_errors=True)


def measure(quick: bool, progress: Callable[[str], None]) -> dict[str, Measured]:
    """The median."""
    found = asyncio.run(run(2 if quick else 5, progress))
    return {NAMES[0]: Measured(statistics.median(found), samples=tuple(found))}


if __name__ == "__main__":
    print(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 2, print)))
