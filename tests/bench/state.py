"""`*_100k_tasks_*`: the state of 100,000 running tasks of 100 services, in a process of its own.

* `state_100k_tasks_mb`: what the resident memory grows by while the tasks' log entries are applied,
  as on a follower.
* `snapshot_100k_tasks_ms`: the state as bytes, in a thread, the way raft asks for it: after every
  10,000 entries, so a status of each tenth task has changed since the one before. The very first,
  with nothing to build on, is `first_snapshot_100k_tasks_ms`, and what memory the process keeps for
  the next one is `snapshot_rows_100k_tasks_mb`. `loop_stall_ms_p999`: how late the event loop was
  during all of them, woken every 2 ms.
* `restore_100k_tasks_ms`: the state back from the bytes, in the one call that raft makes while a
  manager starts: each time in a process that has done nothing else yet.

Each is the median of several runs. `tests/bench/state.py` alone prints them as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from figures import Measured

from manager.state.changes import Chain, Put, encode_change, encode_set
from manager.state.driver import Store
from pyswarm.daemon import interpreter
from pyswarm.model import (
    ContainerSpec,
    Meta,
    NetworkAttachment,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.model.ids import ID_BYTES, encode_id

NAMES = (
    "state_100k_tasks_mb",
    "first_snapshot_100k_tasks_ms",
    "snapshot_rows_100k_tasks_mb",
    "snapshot_100k_tasks_ms",
    "loop_stall_ms_p999",
    "restore_100k_tasks_ms",
)
SERVICES, TASKS_EACH, NODES = 100, 1000, 1000
WAKE_SECONDS = 0.002
CREATED_AT = 1_700_000_000.0


def new_id() -> str:
    return encode_id(os.urandom(ID_BYTES))


def services() -> list[Service]:
    """Services as a stack has them: a pinned image, some environment, a label."""
    found = []
    for number in range(SERVICES):
        container = ContainerSpec(
            image=f"registry.example/shop/service{number}:1.0@sha256:{number:064x}",
            env=tuple(f"SETTING_{each}=value {each}" for each in range(10)),
        )
        spec = ServiceSpec(
            name=f"shop_service{number}",
            labels={"com.docker.stack.namespace": "shop"},
            task=TaskSpec(container=container),
            replicas=TASKS_EACH,
        )
        meta = Meta(created_at=CREATED_AT, updated_at=CREATED_AT)
        found.append(Service(id=new_id(), meta=meta, spec=spec, spec_version=1))
    return found


def tasks(of: list[Service]) -> Iterator[Task]:
    """Tasks that run, with an address each."""
    nodes, network = [new_id() for _ in range(NODES)], new_id()
    for number in range(SERVICES * TASKS_EACH):
        service = of[number // TASKS_EACH]
        at = CREATED_AT + number / 1000
        yield Task(
            id=new_id(),
            meta=Meta(created_at=at, updated_at=at + 1),
            service_id=service.id,
            service_name=service.spec.name,
            service_labels=service.spec.labels,
            slot=number % TASKS_EACH + 1,
            node_id=nodes[number % NODES],
            spec=service.spec.task,
            spec_version=1,
            desired_state=TaskState.RUNNING,
            status=TaskStatus(
                state=TaskState.RUNNING,
                timestamp=at + 1,
                message="started",
                container_id=new_id() + new_id(),
                pid=1000 + number,
            ),
            networks=(
                NetworkAttachment(
                    network_id=network,
                    address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/8",
                ),
            ),
        )


def resident_mb() -> float:
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmRSS"].split()[0]) / 1024


def filled(store: Store) -> float:
    """Apply the entries of all the tasks; the growth of the memory."""
    every = services()
    frames = [encode_change(store.view, Put(service)) for service in every]
    store.apply(1, encode_set(Chain(7, 1, 0), frames))
    entries, frames, number = [], [], 1
    for task in tasks(every):
        frames.append(encode_change(store.view, Put(task)))
        if len(frames) == 200:
            number += 1
            entries.append(encode_set(Chain(7, number, 0), frames))
            frames = []
    gc.collect()
    before = resident_mb()
    for number, entry in enumerate(entries, 2):
        store.apply(number, entry)
    gc.collect()
    return resident_mb() - before


def changed(store: Store, run: int) -> None:
    """The statuses of every tenth task change, an entry each, as between two snapshots."""
    for number, task in enumerate(store.view.list(Task)[run % 10 :: 10]):
        status = replace(task.status, timestamp=CREATED_AT + run, pid=number)
        put = Put(replace(task, status=status))
        chain = Chain(100 + run, number + 1, store.view.version)
        store.apply(store.view.version + 1, encode_set(chain, [encode_change(store.view, put)]))


async def snapshot(store: Store) -> tuple[bytes, float, list[float]]:
    """The bytes, the milliseconds, and how late the loop was at each wake-up meanwhile."""
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    making = loop.run_in_executor(None, store.capture())
    late = []
    while not making.done():
        at = time.perf_counter()
        await asyncio.sleep(WAKE_SECONDS)
        late.append((time.perf_counter() - at - WAKE_SECONDS) * 1000)
    return await making, (time.perf_counter() - begun) * 1000, late


def restored(data: bytes) -> float:
    """The milliseconds of one restore, in a process of its own."""
    argv = [sys.executable, str(Path(__file__)), "restore"]
    done = subprocess.run(argv, input=data, capture_output=True, check=True)
    return float(done.stdout)


def restore() -> float:
    """The milliseconds of one restore, of what the standard input says."""
    interpreter.tune()
    data, store = sys.stdin.buffer.read(), Store()
    begun = time.perf_counter()
    store.restore(sys.maxsize, data)
    milliseconds = (time.perf_counter() - begun) * 1000
    assert store.view.count(Task) == SERVICES * TASKS_EACH, "the state is not whole"
    return milliseconds


async def run(runs: int) -> dict[str, list[float]]:
    interpreter.tune()  # as in a daemon
    store = Store()
    memory = filled(store)
    gc.freeze()  # as after the restart of a manager
    before = resident_mb()
    data, first, late = await snapshot(store)
    del data
    gc.collect()
    rows = resident_mb() - before
    taken, back = [], []
    for number in range(runs):
        changed(store, number)
        data, milliseconds, stalls = await snapshot(store)
        taken.append(milliseconds)
        late += stalls
        back.append(restored(data))
    worst = statistics.quantiles(late, n=1000, method="inclusive")[-1]
    return dict(zip(NAMES, ([memory], [first], [rows], taken, [worst], back), strict=True))


def measure(quick: bool, progress: Callable[[str], None]) -> dict[str, Measured]:
    """In a process of its own, whose memory holds nothing else."""
    argv = [sys.executable, str(Path(__file__)), "3" if quick else "7"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    results = {
        name: Measured(statistics.median(each), samples=tuple(each)) for name, each in found.items()
    }
    progress(", ".join(f"{name} {each.value:,.0f}" for name, each in results.items()))
    return results


if __name__ == "__main__":
    if sys.argv[1:] == ["restore"]:
        print(restore())
    else:
        print(json.dumps(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 3))))
