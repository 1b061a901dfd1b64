"""`scheduled_tasks_per_s`: 100,000 tasks of 1,000 services on 5,000 nodes, half of the services
with constraints, in a process of its own.

The tasks wait in the store of one manager, and the scheduler places them all: plan, transaction,
encoding, rehearsal, commit and what its own watch brings back, all that a leader does but raft,
whose place is taken by one that answers at once. The loop around it, which rests between rounds so
that raft and the sessions have their turn, is left out.

Every task reserves CPU and memory. Constraints are what clusters have: a zone, a kind of disk, a
role, an image's platform, and mixtures. `tests/bench/scheduling.py` alone prints the runs as JSON:
tasks per second of wall time and of CPU time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from figures import Measured

from manager.placement.constraint import satisfied
from manager.scheduler.driver import Scheduler
from manager.state.changes import Chain, Put, encode_change, encode_set
from manager.state.driver import Store
from pyswarm.daemon import interpreter
from pyswarm.model import (
    Meta,
    NetworkAttachment,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
    Placement,
    Platform,
    ResourceRequirements,
    Resources,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

NAMES = ("scheduled_tasks_per_s",)
NODES, SERVICES, TASKS_EACH = 5000, 1000, 100
GIB = 1 << 30
ZONES = tuple(f"zone{number}" for number in range(8))


class AtOnce:
    """Raft for one manager without a disk: what is proposed is committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = store.view.version

    async def propose(self, data: bytes, timeout: float) -> int:
        self._index += 1
        self._store.apply(self._index, data)
        return self._index


def nodes(count: int) -> list[Node]:
    return [
        Node(
            id=f"{number * 7919 % count:025d}",
            role=NodeRole.MANAGER if number < 5 else NodeRole.WORKER,
            spec=NodeSpec(
                labels={
                    "zone": ZONES[number % len(ZONES)],
                    "disk": "ssd" if number % 3 else "hdd",
                }
            ),
            status=NodeStatus(state=NodeState.READY, address=f"10.{number >> 8}.{number & 255}.1"),
            description=NodeDescription(
                hostname=f"host{number}",
                platform=Platform(os="linux", architecture="x86_64"),
                resources=Resources(nano_cpus=16 * 10**9, memory_bytes=64 * GIB),
            ),
        )
        for number in range(count)
    ]


def constraints(number: int) -> tuple[str, ...]:
    """Of every second service: one or two."""
    zone = ZONES[number // 2 % len(ZONES)]
    kinds = (
        (f"node.labels.zone=={zone}",),
        ("node.labels.disk==ssd", "node.role==worker"),
        (f"node.labels.zone!={zone}", "node.platform.os==linux"),
        (f"node.labels.zone=={zone}", "node.labels.disk!=hdd"),
        ("node.role!=manager",),
    )
    return kinds[number // 2 % len(kinds)] if number % 2 else ()


def service(number: int) -> Service:
    reserved = Resources(nano_cpus=100_000_000, memory_bytes=GIB // 2)
    spec = ServiceSpec(
        name=f"service{number}",
        replicas=TASKS_EACH,
        task=TaskSpec(
            resources=ResourceRequirements(reservations=reserved),
            placement=Placement(
                constraints=constraints(number),
                platforms=(Platform(os="linux", architecture="amd64"),),
            ),
        ),
    )
    return Service(id=f"{number:025d}", spec=spec, spec_version=1)


def waiting(of: Service, slot: int, number: int) -> Task:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/8"
    return Task(
        id=f"{number * 77_777 % 100_003:025d}",
        meta=Meta(created_at=1.0, updated_at=1.0),
        service_id=of.id,
        service_name=of.spec.name,
        slot=slot,
        spec=of.spec.task,
        spec_version=1,
        status=TaskStatus(state=TaskState.PENDING, timestamp=1.0, message="pending task"),
        networks=(NetworkAttachment(network_id="n" * 25, address=address),),
    )


def filled(services: int, each: int, node_count: int) -> Store:
    """A store in which all tasks wait."""
    store = Store()
    sequence, frames = 0, []

    def commit() -> None:
        nonlocal sequence
        sequence += 1
        store.apply(sequence, encode_set(Chain(7, sequence, 0), frames))
        frames.clear()

    frames += [encode_change(store.view, Put(node)) for node in nodes(node_count)]
    commit()
    for number in range(services):
        made = service(number)
        frames.append(encode_change(store.view, Put(made)))
        commit()
        for slot in range(each):
            task = waiting(made, slot + 1, number * each + slot)
            frames.append(encode_change(store.view, Put(task)))
        commit()
    return store


def check(store: Store, wanted: int) -> None:
    """Everything is placed where it may be, and every service is spread within one."""
    on: dict[str, Counter[str]] = {}
    for task in store.view.list(Task):
        if task.node_id:
            on.setdefault(task.service_id, Counter())[task.node_id] += 1
    placed = sum(each.total() for each in on.values())
    assert placed == wanted, f"{placed} of {wanted} tasks were placed"
    machines = store.view.list(Node)
    for found in store.view.list(Service)[:20]:
        texts = found.spec.task.placement.constraints
        allowed = {node.id for node in machines if satisfied(texts, node)}
        counts = [on[found.id][key] for key in allowed]
        assert max(counts) - min(counts) <= 1, f"{found.spec.name} is not spread"
        assert sum(counts) == on[found.id].total(), f"{found.spec.name}: {texts} do not hold"


async def run(services: int, each: int, node_count: int) -> dict[str, float]:
    """Place all; tasks per second of wall and of CPU time."""
    store = filled(services, each, node_count)
    store.proposer = AtOnce(store)
    gc.collect()
    gc.freeze()  # as after the restart of a manager
    interpreter.tune()  # as in a daemon
    scheduler = Scheduler(store)
    with store.watch(1 << 20) as commits:
        scheduler.observe(None)
        wall, cpu = time.perf_counter(), time.process_time()
        while True:
            await scheduler.act()
            news = commits.get_nowait()
            if not news:
                break
            for commit in news:
                scheduler.observe(commit.changes)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    count = services * each
    check(store, count)
    return {"wall": count / wall, "cpu": count / cpu}


def measure(quick: bool, progress: Callable[[str], None]) -> dict[str, Measured]:
    """Each run in a process of its own, whose memory holds nothing else; the median."""
    found: list[dict[str, float]] = []
    for _ in range(1 if quick else 5):
        argv = [sys.executable, str(Path(__file__))]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    wall = tuple(each["wall"] for each in found)
    cpu = statistics.median(each["cpu"] for each in found)
    value = statistics.median(wall)
    progress(f"scheduled_tasks_per_s {value:,.0f}; of CPU time {cpu:,.0f}")
    return {NAMES[0]: Measured(value, samples=wall)}


if __name__ == "__main__":
    shape = [int(text) for text in sys.argv[1:4]] or [SERVICES, TASKS_EACH, NODES]
    print(json.dumps(asyncio.run(run(*shape))))
