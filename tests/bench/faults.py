"""The figures of a whole swarm: memory, a task's start, lost leaders and hosts."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

import cluster
from cluster import Watched, create_service, remove_service, rss_mb, watching
from figures import Measured

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection
from pyswarm.errors import SwarmError
from pyswarm.lab import host
from pyswarm.model import ContainerSpec, Node, Placement, RestartPolicy, ServiceSpec, TaskSpec
from pyswarm.model.states import NodeState
from pyswarm.testing.lab import LabDriver

Progress = Callable[[str], None]
IDLE_SECONDS = 60.0
PAYLOAD_BYTES = 1024
_numbers = itertools.count(1)


def sleeper(image: str, replicas: int = 1) -> ServiceSpec:
    """A service on the workers whose tasks do nothing and end at once when told."""
    container = ContainerSpec(image=image, stop_grace_period_seconds=1.0)
    task = TaskSpec(
        container=container,
        placement=Placement(constraints=("node.role==worker",)),
        restart=RestartPolicy(delay_seconds=0.0),
    )
    return ServiceSpec(name=f"bench{next(_numbers)}", task=task, replicas=replicas)


def p50(samples: list[float]) -> Measured:
    """The median, with the runs."""
    return Measured(statistics.median(samples), samples=tuple(samples))


def memory(driver: LabDriver, quick: bool, progress: Progress) -> dict[str, Measured]:
    """The daemons of an idle swarm: the biggest manager, the biggest worker."""
    wait = 5.0 if quick else IDLE_SECONDS
    progress(f"memory: idle for {wait:.0f} s")
    time.sleep(wait)
    found = {name: rss_mb(driver, name) for name in driver.hosts}
    progress("memory: " + ", ".join(f"{name} {size:.0f} MB" for name, size in found.items()))
    managers = [size for name, size in found.items() if name.startswith("m")]
    workers = [size for name, size in found.items() if name.startswith("w")]
    why = f"after {wait:.0f} s only" if quick else ""
    return {
        "manager_rss_mb": Measured(max(managers), why, tuple(managers)),
        "agent_rss_mb": Measured(max(workers), why, tuple(workers)),
    }


async def create_to_running(
    driver: LabDriver, image: str, runs: int, progress: Progress
) -> dict[str, Measured]:
    """From the call to the watch's word that the task runs; the image is on every worker."""
    samples = []
    async with watching(driver, "m1") as (connection, watched):
        workers = sum(name.startswith("w") for name in driver.hosts)
        first = await create_service(connection, sleeper(image, replicas=workers))
        await watched.until(lambda: len(watched.running(first)) == workers, "the first tasks run")
        await remove_service(connection, watched, first)
        for _ in range(runs):
            begun = time.monotonic()
            service = await create_service(connection, sleeper(image))
            await watched.until(lambda s=service: watched.running(s), "the task runs")
            samples.append((time.monotonic() - begun) * 1000)
            await remove_service(connection, watched, service)
    progress("create to running: " + " ".join(f"{ms:.0f}" for ms in samples) + " ms")
    return {"create_to_running_ms_p50": p50(samples)}


def config_request() -> control_pb2.CreatePayloadRequest:
    """A new config of 1 KB under a name of its own."""
    request = control_pb2.CreatePayloadRequest()
    request.spec.name = f"bench-{next(_numbers)}-{os.getpid()}"
    request.spec.data = os.urandom(PAYLOAD_BYTES)
    return request


async def leader_loss(driver: LabDriver, runs: int, progress: Progress) -> dict[str, Measured]:
    """Kill -9 of the leader's daemon, then one write after the other through another manager."""
    managers = [name for name in driver.hosts if name.startswith("m")]
    here = driver.lab.layout
    samples = []
    for _ in range(runs):
        leader = await cluster.leader_host(driver, managers)
        other = next(name for name in managers if name != leader)
        async with cluster.connect(driver, other) as connection:
            await connection.call(connection.control.CreateConfig(config_request()))
            host.hold_program(here, leader, "daemon", down=True)
            try:
                begun = time.monotonic()
                await asyncio.to_thread(driver.kill_daemon, leader)
                samples.append((await first_write(connection, begun)) * 1000)
            finally:
                await asyncio.to_thread(driver.hold_daemon, leader, down=False)
        progress(f"leader {leader} lost: next write after {samples[-1]:.0f} ms")
    worst = statistics.quantiles(samples, n=100)[-1] if len(samples) >= 100 else max(samples)
    why = "" if len(samples) >= 100 else f"the worst of {len(samples)} kills"
    return {
        "leader_loss_ms_p50": p50(samples),
        "leader_loss_ms_p99": Measured(worst, why, tuple(samples)),
    }


async def first_write(connection: Connection, begun: float) -> float:
    """The seconds from `begun` to the first write that is committed."""
    while time.monotonic() - begun < cluster.DEADLINE_SECONDS:
        with suppress(SwarmError):
            await connection.call(connection.control.CreateConfig(config_request(), timeout=20))
            return time.monotonic() - begun
        await asyncio.sleep(0.02)
    raise AssertionError(f"no write within {cluster.DEADLINE_SECONDS:.0f} s")


async def node_loss(
    driver: LabDriver, image: str, runs: int, progress: Progress
) -> dict[str, Measured]:
    """Cut the power of the worker that has the task: noticed, and running on another."""
    noticed, recovered = [], []
    async with watching(driver, "m1") as (connection, watched):
        service = await create_service(connection, sleeper(image))
        for _ in range(runs):
            [task] = await watched.until(lambda: watched.running(service), "the task runs")
            victim = watched.nodes[task.node_id]
            begun = time.monotonic()
            killing = asyncio.ensure_future(asyncio.to_thread(driver.kill, victim.hostname))
            try:
                down, moved = await _lost(watched, service, victim, begun)
            finally:
                await killing
                await asyncio.to_thread(driver.start, victim.hostname)
            noticed.append(down * 1000)
            recovered.append(moved * 1000)
            progress(
                f"host {victim.hostname} lost: noticed after {noticed[-1]:.0f} ms, "
                f"task runs again after {recovered[-1]:.0f} ms"
            )
            name = victim.hostname
            await watched.until(lambda name=name: watched.is_up(name), "the worker is back")
        await remove_service(connection, watched, service)
    return {
        "node_loss_noticed_ms_p50": p50(noticed),
        "node_loss_recovered_ms_p50": p50(recovered),
    }


async def _lost(watched: Watched, service: str, victim: Node, begun: float) -> tuple[float, float]:
    def is_down() -> bool:
        return watched.nodes[victim.id].status.state == NodeState.DOWN

    def elsewhere() -> bool:
        return any(task.node_id != victim.id for task in watched.running(service))

    await watched.until(is_down, "the lost node is Down")
    down = time.monotonic() - begun
    await watched.until(elsewhere, "the task runs on another worker")
    return down, time.monotonic() - begun
