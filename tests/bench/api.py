"""The API's rate with 64 clients, and what gRPC alone allows on this machine at this moment.

* `api_writes_per_s_64`: configs of 1 KB through the leader's socket: checked, proposed, committed
  by three managers, applied, answered.
* `api_floor_per_s_64`: the same clients and requests, right before and after, to a process that
  answers each from a constant with the same server: no cluster can be faster. (`floor SOCKET` is
  that process.)
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import cluster
from faults import Progress, config_request
from figures import Measured

from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.cli.connection import Connection
from pyswarm.daemon import interpreter
from pyswarm.rpc import local_server
from pyswarm.testing.lab import LabDriver

CLIENTS = 64
FLOOR_SECONDS = 3.0


async def calls_per_second(connect: Callable[[], Connection], seconds: float) -> float:
    """Clients with a connection each, each waiting for its last write."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect()) for _ in range(CLIENTS)]

        async def client(connection: Connection, end: float) -> int:
            count = 0
            while time.monotonic() < end:
                await connection.call(connection.control.CreateConfig(config_request()))
                count += 1
            return count

        async def together(seconds: float) -> float:
            begun = time.monotonic()
            counts = await asyncio.gather(*(client(each, begun + seconds) for each in connections))
            return sum(counts) / (time.monotonic() - begun)

        await together(0.5)
        return await together(seconds)


async def api_writes(driver: LabDriver, seconds: float, progress: Progress) -> dict[str, Measured]:
    """Both figures."""
    managers = [name for name in driver.hosts if name.startswith("m")]
    leader = await cluster.leader_host(driver, managers)
    with floor() as connect:
        before = await calls_per_second(connect, FLOOR_SECONDS)
        rate = await calls_per_second(lambda: cluster.connect(driver, leader), seconds)
        after = await calls_per_second(connect, FLOOR_SECONDS)
    progress(f"API: {rate:,.0f} writes/s through the leader {leader}")
    progress(f"gRPC alone: {before:,.0f} and {after:,.0f} calls/s")
    return {
        "api_writes_per_s_64": Measured(rate),
        "api_floor_per_s_64": Measured((before + after) / 2, samples=(before, after)),
    }


@contextmanager
def floor() -> Iterator[Callable[[], Connection]]:
    """The process that answers from a constant, until the block ends."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "floor.sock")
        argv = [sys.executable, __file__, "floor", str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None, "it was asked for"
                process.stdout.readline()
                yield lambda: Connection(path)
            finally:
                process.terminate()


class _Constant(control_pb2_grpc.ControlServicer):
    async def CreateConfig(self, request: Any, context: Any) -> Any:
        """Made, says nobody."""
        return control_pb2.Created(id="x" * 25)


async def _serve(path: Path) -> None:
    interpreter.tune()  # as in a daemon
    server = local_server(path)
    control_pb2_grpc.add_ControlServicer_to_server(_Constant(), server)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[2])))
