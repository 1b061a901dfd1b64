"""Stores on one log, and clients that append: proposals in flight are lost, late, or given up.

Each store applies the same entries in the same order, at its own pace; the one that leads proposes
them. When the lead changes, some of the proposals in flight still come, from the first on, and the
clients are told that nobody knows. A client may also give up; then its proposal comes, or not.
Stores restart from snapshots of others. A seed repeats a run exactly.

python -m pyswarm.testing.store_sim 17
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from dataclasses import replace
from functools import partial

from manager.state.driver import Store
from manager.state.snapshot import encode_snapshot
from manager.state.store import Transaction
from pyswarm.errors import SwarmError, Unavailable
from pyswarm.model import Config, PayloadSpec
from pyswarm.testing.raft_node import Violation

STORES = 3
CLIENTS = 6
KEYS = 3
STEPS = 200
CALM_STEPS = 100


class Log:
    """What raft is to the stores: one order of entries, of which the last ones may get lost."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.entries: list[bytes] = []
        self.digests: dict[int, object] = {}  # index -> the state behind it
        self.calm = False
        self.stores = [Store() for _ in range(STORES)]
        self.applied = [0] * STORES
        self.leader = 0
        self._queue: deque[tuple[bytes, asyncio.Future[int]]] = deque()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self.stores[0].proposer = self

    async def propose(self, data: bytes, timeout: float) -> int:
        """As raft: the index once the entry is applied by the leader."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((data, done))
        if not self.calm and self.chance.random() < 0.1:
            for _ in range(self.chance.randrange(3)):
                await asyncio.sleep(0)
            if self.chance.random() < 0.5:
                self._queue = deque(item for item in self._queue if item[1] is not done)
            done.cancel()
            raise Unavailable("the client gave up")
        return await done

    def step(self) -> None:
        """Something happens, or nothing."""
        chance = self.chance.random()
        if chance < 0.5 or self.calm:
            self._commit()
            self.apply(self.leader)
            self.apply(self.chance.randrange(STORES))
        elif chance < 0.9:
            self.apply(self.chance.randrange(STORES))
        elif chance < 0.95:
            self._restart(self.chance.randrange(STORES))
        else:
            self._change_leader()

    def _commit(self) -> None:
        if self._queue:
            data, done = self._queue.popleft()
            self.entries.append(data)
            self._waiting[len(self.entries)] = done

    def apply(self, number: int) -> None:
        """The next entry at one store."""
        index = self.applied[number] + 1
        if index > len(self.entries):
            return
        self.applied[number] = index
        store = self.stores[number]
        before = _lists(store)
        store.apply(index, self.entries[index - 1])
        _check_step(index, before, _lists(store))
        state = _digest(store)
        if self.digests.setdefault(index, state) != state:
            raise Violation(f"store {number} has another state at {index} than others had")
        done = self._waiting.pop(index, None) if number == self.leader else None
        if done is not None and not done.done():
            done.set_result(index)

    def _restart(self, number: int) -> None:
        if number == self.leader:
            return
        source = self.chance.randrange(STORES)
        index = self.applied[source]
        if index > self.applied[number]:
            self.stores[number].restore(index, encode_snapshot(self.stores[source].view))
            self.applied[number] = index
            if _digest(self.stores[number]) != self.digests[index]:
                raise Violation(f"the snapshot of {index} gives another state than it was made of")

    def _change_leader(self) -> None:
        for _ in range(self.chance.randrange(len(self._queue) + 1)):
            self._commit()
        lost = [done for _, done in self._queue] + list(self._waiting.values())
        self._queue.clear()
        self._waiting.clear()
        old = self.stores[self.leader]
        old.proposer = None
        old.reset_head()
        for done in lost:
            if not done.done():
                done.set_exception(Unavailable("the lead has changed"))
        self.leader = self.chance.randrange(STORES)
        while self.applied[self.leader] < len(self.entries):
            self.apply(self.leader)
        self.stores[self.leader].reset_head()
        self.stores[self.leader].proposer = self


def _digest(store: Store) -> object:
    """Equal for equal states, and quicker than a snapshot."""
    view = store.view
    return view.version, view.epoch, view.sequence, tuple(view.list(Config))


def _lists(store: Store) -> dict[str, list[bytes]]:
    """What was appended under each key, in its order."""
    return {record.id: record.spec.data.split() for record in store.view.list(Config)}


def _check_step(index: int, old: dict[str, list[bytes]], new: dict[str, list[bytes]]) -> None:
    """An entry appends one item to one list, or was skipped."""
    changed = [key for key in new if new[key] != old.get(key, [])]
    if len(changed) > 1 or any(new[key][:-1] != old.get(key, []) for key in changed):
        key = changed[0]
        raise Violation(f"entry {index} made {old.get(key, [])[-3:]} of {key} to {new[key][-3:]}")


class Clients:
    """They append items, each knowing what it was told."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._done: dict[int, str] = {}  # item -> key
        self._begun: set[int] = set()

    @property
    def acknowledged(self) -> int:
        """How many appends."""
        return len(self._done)

    async def run(self) -> None:
        """One client, until it is cancelled."""
        while True:
            key = f"k{self._log.chance.randrange(KEYS)}"
            item = len(self._begun)
            self._begun.add(item)
            store = self._log.stores[self._log.leader]
            try:
                await store.update(partial(_append, key, item), timeout=60)
            except SwarmError:
                await asyncio.sleep(0)
                continue
            if b"%d" % item not in _lists(store).get(key, []):
                raise Violation(f"append {item} to {key} is acknowledged, and is not there")
            self._done[item] = key
            await asyncio.sleep(0)

    def check(self, store: Store) -> None:
        """Every acknowledged item is there once."""
        lists = _lists(store)
        for item, key in self._done.items():
            times = lists.get(key, []).count(b"%d" % item)
            if times != 1:
                raise Violation(f"acknowledged item {item} is {times} times in {key}")


def _append(key: str, item: int, tx: Transaction) -> None:
    record = tx.get(Config, key) or Config(id=key, spec=PayloadSpec(name=key))
    data = record.spec.data + b"%d " % item
    tx.put(replace(record, spec=replace(record.spec, data=data)))


async def _story(seed: int) -> None:
    log = Log(random.Random(seed))
    clients, before = Clients(log), 0
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(clients.run()) for _ in range(CLIENTS)]
        for step in range(STEPS + CALM_STEPS):
            if step == STEPS:
                log.calm, before = True, clients.acknowledged
            log.step()
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    if clients.acknowledged <= before:
        raise Violation("no write is acknowledged without a fault")
    while min(log.applied) < len(log.entries):
        for number in range(STORES):
            log.apply(number)
    clients.check(log.stores[log.leader])


def run_seed(seed: int) -> None:
    """Run one seed; a failure says how to repeat it."""
    try:
        asyncio.run(_story(seed))
    except Exception as failure:
        error: BaseException = failure
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise Violation(
            f"{error}\nrepeat with: python -m pyswarm.testing.store_sim {seed}"
        ) from error


if __name__ == "__main__":
    run_seed(int(sys.argv[1]))
    print("no violation")
