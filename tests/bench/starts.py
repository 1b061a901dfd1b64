"""`start_100_ratio`: 100 containers on one host, from the request that creates their service until
the swarm says that all run: pyswarm's time over dockerd's, in one run.

Two hosts of a lab, one after the other: m1 is a swarm of one manager, and on w1 Debian's dockerd
(package docker.io, unpacked below build/ and not installed) is a swarm of one manager of its own,
with a network namespace, mounts and processes of its own, as every lab host has. Both have the
image, a static busybox that sleeps, and both give each container the default network. Each is
asked for the number of running tasks on its socket, ten times a second. The value is
the ratio of the medians.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cluster
from figures import Measured

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection
from pyswarm.errors import SwarmError
from pyswarm.lab.layout import REGISTRY
from pyswarm.model import ContainerSpec, Placement, ServiceSpec, TaskSpec
from pyswarm.testing.lab import LabDriver, missing_for_lab

NAMES = ("start_100_ratio",)
CONTAINERS = 100
ASK_SECONDS = 0.1
DEADLINE_SECONDS = 300.0
UNPACKED = Path("build/docker.io").absolute()
IMAGE = "bench/sleeper:1"


def unpacked() -> Path:
    """The directory with Debian's docker and dockerd, fetched once."""
    if not (UNPACKED / "usr/sbin/dockerd").exists():
        UNPACKED.mkdir(parents=True, exist_ok=True)
        fetch = ["apt-get", "--quiet", "download", "docker.io"]
        subprocess.run(fetch, cwd=UNPACKED, check=True, capture_output=True)
        [package] = UNPACKED.glob("docker.io_*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(UNPACKED)], check=True)
    return UNPACKED


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on a unix socket: a command for each question would take from what is measured."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker")
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


class Docker:
    """dockerd in a lab host, and its command."""

    def __init__(self, driver: LabDriver, name: str) -> None:
        self._driver, self._name = driver, name
        self._root = unpacked()
        self._state = Path(f"/var/lib/bench-docker-{driver.name}")
        self._socket = self._state / "docker.sock"

    def call(self, *arguments: str) -> str:
        """The output of `docker`."""
        program = str(self._root / "usr/bin/docker")
        host = f"unix://{self._socket}"
        return self._driver.output(self._name, program, "--host", host, *arguments).strip()

    def running_tasks(self) -> int:
        """How many tasks of all services run, as `docker service ls` asks for it."""
        connection = _UnixConnection(self._socket)
        try:
            connection.request("GET", "/v1.41/services?status=true")
            services = json.load(connection.getresponse())
        finally:
            connection.close()
        return sum(int(each["ServiceStatus"]["RunningTasks"]) for each in services)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The daemon with a containerd of its own, as on a host that has nothing else."""
        state = self._state
        paths = f"{self._root}/usr/sbin:{self._root}/usr/bin"
        command = (
            f"export PATH={paths}:$PATH; mkdir -p {state}; "
            f"setsid dockerd --host unix://{self._socket} --pidfile /run/bench-docker.pid "
            f"--data-root {state}/data --exec-root /run/bench-docker "
            f"--containerd /run/containerd/containerd.sock --insecure-registry {REGISTRY} "
            f">{state}/log 2>&1 & echo $!"
        )
        pid = self._driver.output(self._name, "sh", "-c", command).strip()
        try:
            self._driver.wait_until(lambda: self.call("version"), what="dockerd answers")
            yield
        finally:
            self._driver.exec(self._name, "kill", "-TERM", pid)
            gone = f"while kill -0 {pid} 2>/dev/null; do sleep 0.1; done"
            self._driver.exec(self._name, "sh", "-c", f"timeout 60 sh -c '{gone}'")
            shutil.rmtree(state, ignore_errors=True)

    def prepare(self) -> None:
        """A swarm of one node that has the image."""
        self.call("swarm", "init", "--advertise-addr", self._driver.address(self._name))
        self.call("pull", "--quiet", f"{REGISTRY}/{IMAGE}")

    def one(self) -> float:
        """The seconds of one service; it is gone afterwards."""
        begun = time.monotonic()
        create = ("service", "create", "--detach", "--no-resolve-image", "--name", "bench")
        self.call(*create, "--replicas", str(CONTAINERS), f"{REGISTRY}/{IMAGE}")
        while self.running_tasks() != CONTAINERS:
            assert time.monotonic() - begun < DEADLINE_SECONDS, "dockerd does not start them"
            time.sleep(ASK_SECONDS)
        took = time.monotonic() - begun
        self.call("service", "rm", "bench")
        self._driver.wait_until(
            lambda: not self.call("ps", "--quiet", "--all"),
            deadline_seconds=DEADLINE_SECONDS,
            what="dockerd removes them",
        )
        return took


async def of_pyswarm(connection: Connection) -> float:
    """The seconds of one service; it is gone afterwards."""
    container = ContainerSpec(image=f"{REGISTRY}/{IMAGE}", stop_grace_period_seconds=1.0)
    placement = Placement(constraints=("node.hostname==m1",))
    task = TaskSpec(container=container, placement=placement)
    spec = ServiceSpec(name="bench", replicas=CONTAINERS, task=task)
    begun = time.monotonic()
    service_id = await cluster.create_service(connection, spec)
    request = control_pb2.ListRequest(filters=control_pb2.Filters(ids=[service_id]))
    while True:
        answer = await connection.call(connection.control.ListServices(request))
        if sum(each.running for each in answer.services) == CONTAINERS:
            break
        assert time.monotonic() - begun < DEADLINE_SECONDS, "pyswarm does not start them"
        await asyncio.sleep(ASK_SECONDS)
    took = time.monotonic() - begun
    reference = control_pb2.Reference(ref=service_id)
    await connection.call(connection.control.RemoveService(reference))
    while time.monotonic() - begun < 2 * DEADLINE_SECONDS:
        try:
            await connection.call(connection.control.GetService(reference))
        except SwarmError:
            return took
        await asyncio.sleep(ASK_SECONDS)
    raise AssertionError("pyswarm does not remove them")


async def run(driver: LabDriver, runs: int, progress: Callable[[str], None]) -> Measured:
    """Both in turn; the first of each is not counted, since it finds caches cold."""
    docker = Docker(driver, "w1")
    driver.push_image(IMAGE, "sleep", "86400")
    ours, theirs = [], []
    async with cluster.connect(driver, "m1") as connection:
        with docker.running():
            docker.prepare()
            for number in range(runs + 1):
                mine = await of_pyswarm(connection)
                other = await asyncio.to_thread(docker.one)
                progress(f"{CONTAINERS} containers: pyswarm {mine:.1f} s, dockerd {other:.1f} s")
                if number:
                    ours.append(mine)
                    theirs.append(other)
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Measured(ratio, samples=tuple(a / b for a, b in zip(ours, theirs, strict=True)))


def measure(quick: bool, progress: Callable[[str], None]) -> dict[str, Measured]:
    """The ratio of the medians."""
    if why := missing_for_lab():
        raise AssertionError(why)
    with cluster.lab(1, 1, progress) as driver:
        return {NAMES[0]: asyncio.run(run(driver, 1 if quick else 3, progress))}


if __name__ == "__main__":
    print(measure(True, print))
