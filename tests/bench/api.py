"""The API's rate with 64 clients, and what gRPC alone allows on this machine at this moment.

* `api_writes_per_s_64`: configs of 1 KB through the leader's socket: checked, proposed, committed
  by three managers, applied, answered.
* `api_floor_per_s_64`: the same clients and requests, right before and after, to a process that
  answers each from a constant with the same server: no cluster can be faster. (`floor SOCKET` is
  that process.)

The clients are those of `pyswarm.testing.unary_load`, which leave the two cores to the managers.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cluster
from faults import Progress, config_request
from figures import Measured

from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.cli.connection import socket_path
from pyswarm.daemon import interpreter
from pyswarm.rpc import local_server
from pyswarm.testing.lab import LabDriver
from pyswarm.testing.unary_load import calls_per_second

METHOD = "/pyswarm.api.v1.Control/CreateConfig"
CLIENTS = 64
FLOOR_SECONDS = 3.0


def configs_per_second(path: Path, seconds: float) -> float:
    """The rate at which the daemon at `path` takes configs."""
    return calls_per_second(
        path, METHOD, lambda: config_request().SerializeToString(), CLIENTS, seconds
    )


def api_writes(driver: LabDriver, seconds: float, progress: Progress) -> dict[str, Measured]:
    """Both figures."""
    managers = [name for name in driver.hosts if name.startswith("m")]
    leader = asyncio.run(cluster.leader_host(driver, managers))
    with floor() as constant:
        before = configs_per_second(constant, FLOOR_SECONDS)
        rate = configs_per_second(socket_path(driver.socket(leader)), seconds)
        after = configs_per_second(constant, FLOOR_SECONDS)
    progress(f"API: {rate:,.0f} writes/s through the leader {leader}")
    progress(f"gRPC alone: {before:,.0f} and {after:,.0f} calls/s")
    return {
        "api_writes_per_s_64": Measured(rate),
        "api_floor_per_s_64": Measured((before + after) / 2, samples=(before, after)),
    }


@contextmanager
def floor() -> Iterator[Path]:
    """The socket of a process that answers from a constant, until the block ends."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "floor.sock")
        argv = [sys.executable, __file__, "floor", str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None, "it was asked for"
                process.stdout.readline()
                yield path
            finally:
                process.terminate()


class _Constant(control_pb2_grpc.ControlServicer):
    async def CreateConfig(self, request: Any, context: Any) -> Any:
        """Made, says nobody."""
        return control_pb2.Created(id="x" * 25)


async def _serve(path: Path) -> None:
    server = local_server(path)
    control_pb2_grpc.add_ControlServicer_to_server(_Constant(), server)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    interpreter.run(_serve(Path(sys.argv[2])))  # as in a daemon
