"""The drill: a change that no manager, or one manager, can apply. An armed fault makes it so."""

import asyncio
from pathlib import Path

import pytest

from manager.state import changes, driver, store, writing
from manager.state.driver import Store
from pyswarm.errors import DataLoss, Internal
from pyswarm.model import Config, PayloadSpec
from pyswarm.testing.raft_cluster import Cluster, Manager, eventually
from pyswarm.testing.store import instant_store

pytestmark = pytest.mark.slow


class Proposer:
    """The raft node of a manager, which is made later than its store."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def propose(self, data: bytes, timeout: float) -> int:
        return await self._manager.node.propose(data, timeout)


class Stores(Cluster):
    """Managers whose state machine is the real one."""

    def make(self, raft_id: int) -> Manager:
        manager = super().make(raft_id)
        manager.machine = Store(Proposer(manager), lambda: 1.0)
        return manager


def put(name):
    record = Config(id=name, spec=PayloadSpec(name=name, data=b"x"))
    return lambda tx: tx.put(record)


def names(manager):
    return [config.id for config in manager.machine.view.list(Config)]


class Fault:
    """What one function does to the record "poison" while it is armed."""

    def __init__(self, monkeypatch, module, function):
        self.armed = False
        self._real = getattr(module, function)
        monkeypatch.setattr(module, function, self)

    def __call__(self, first, second):
        result = self._real(first, second)
        if self.armed and b"poison" in repr((first, second)).encode():
            raise ZeroDivisionError("the fault is armed")
        return result


def drill(tmp_path, story):
    async def whole():
        async with Stores(tmp_path) as cluster:
            await cluster.start(3)
            leader = await cluster.leader()
            await leader.machine.update(put("before"))
            await story(cluster, leader)

    asyncio.run(whole())


async def all_go_on(cluster: Stores, leader: Manager) -> None:
    await leader.machine.update(put("after"))
    for manager in cluster.managers.values():
        await eventually(lambda m=manager: names(m) == ["after", "before"])
        assert manager.node.error is None
    states = {manager.machine.capture()() for manager in cluster.managers.values()}
    assert len(states) == 1


@pytest.mark.parametrize(("module", "function"), [(changes, "decode"), (writing, "apply_change")])
def test_a_change_that_cannot_be_applied_is_refused_before_it_is_proposed(
    tmp_path: Path, monkeypatch, module, function
):
    async def story(cluster, leader):
        fault = Fault(monkeypatch, module, function)
        fault.armed = True
        last = leader.node.status().last_index
        # A fault in apply shows in the transaction itself, a fault in what the log says later.
        with pytest.raises((Internal, ZeroDivisionError), match="the fault is armed"):
            await leader.machine.update(put("poison"))
        assert leader.node.status().last_index == last, "nothing of it is in the log"
        await all_go_on(cluster, leader)

    drill(tmp_path, story)


def test_the_drill_is_not_harmless_without_the_rehearsal_the_swarm_stops(tmp_path, monkeypatch):
    async def story(cluster, leader):
        fault = Fault(monkeypatch, changes, "decode")
        monkeypatch.setattr(driver, "_rehearsed", lambda tx, entry: (tx.view, None))
        fault.armed = True
        writing = asyncio.ensure_future(leader.machine.update(put("poison"), timeout=5.0))
        # The leader stops, the next leader stops, and the last one has no majority.
        await eventually(lambda: sum(m.node.failed.is_set() for m in cluster.managers.values()) > 1)
        errors = [m.node.error for m in cluster.managers.values() if m.node.error is not None]
        assert all(isinstance(error, DataLoss) for error in errors)
        with pytest.raises(Exception, match="cannot be applied on this manager"):
            await writing

    drill(tmp_path, story)


def test_one_manager_that_cannot_apply_an_entry_says_so_and_stops_alone(tmp_path, monkeypatch):
    async def story(cluster, leader):
        odd = next(m for m in cluster.managers.values() if m is not leader)
        real = store.commit
        fault = Fault(monkeypatch, writing, "apply_change")

        def commit(view, *rest):
            fault.armed = view is odd.machine.view
            return real(view, *rest)

        monkeypatch.setattr(driver, "commit", commit)
        await leader.machine.update(put("poison"))
        await eventually(odd.node.failed.is_set)
        assert "run the version of pyswarm that the other managers run" in str(odd.node.error)
        assert names(odd) == ["before"], "its state is as it was before the entry"
        cluster.managers.pop(odd.raft_id)
        await leader.machine.update(put("after"))
        for manager in cluster.managers.values():
            await eventually(lambda m=manager: names(m) == ["after", "before", "poison"])
        await odd.stop()

    drill(tmp_path, story)


def test_bytes_that_say_less_than_the_record_are_what_counts_on_the_leader_too(monkeypatch):
    """A codec that forgets something must not make the leader differ from the others."""
    real = changes.encode

    def forgetful(record):
        if isinstance(record, Config):
            record = Config(id=record.id, meta=record.meta, spec=PayloadSpec(name="web"))
        return real(record)

    async def story():
        monkeypatch.setattr(changes, "encode", forgetful)
        leader = instant_store(lambda: 1.0)
        await leader.update(put("web"))
        assert leader.view.require(Config, "web").spec.data == b""
        follower = Store()
        for index, data in enumerate(leader.proposer.entries, 1):
            follower.apply(index, data)
        assert follower.capture()() == leader.capture()()

    asyncio.run(story())
