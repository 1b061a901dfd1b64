import asyncio
import random
import threading
from dataclasses import replace

import pytest

from manager.state import driver
from manager.state.driver import CHANGES_MAX, Store
from manager.state.snapshot import decode_snapshot, encode_snapshot
from pyswarm.aio import Lagged
from pyswarm.errors import NotLeader, ResourceExhausted, SwarmError, Unavailable
from pyswarm.model import Config, PayloadSpec, Service, ServiceSpec, Task
from pyswarm.testing.store import InstantLog, instant_store


def config(key, data=b"x"):
    return Config(id=key, spec=PayloadSpec(name=key, data=data))


def put(record):
    return lambda tx: tx.put(record)


def increment(tx):
    record = tx.require(Service, "s")
    tx.put(replace(record, spec_version=record.spec_version + 1))
    return record.spec_version + 1


class FaultyLog(InstantLog):
    """Commits late, loses entries before or after they are appended, all by a seed."""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.queue = asyncio.Queue()
        self.committed = 0

    async def propose(self, data, timeout):
        fate = self.random.random()
        if fate < 0.1:
            raise Unavailable("never appended")
        done = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((data, done))
        if fate < 0.2:
            await asyncio.sleep(0)
            raise Unavailable("unknown")
        return await done

    async def pump(self):
        while True:
            data, done = await self.queue.get()
            for _ in range(self.random.randrange(4)):
                await asyncio.sleep(0)
            self.entries.append(data)
            self.store.apply(len(self.entries), data)
            done.set_result(len(self.entries))


def test_concurrent_updates_never_lose_each_other():
    async def story():
        store = instant_store(lambda: 1.0)
        await store.update(put(Service(id="s", spec=ServiceSpec(name="web"))))
        results = await asyncio.gather(*(store.update(increment) for _ in range(100)))
        assert sorted(results) == list(range(1, 101))
        assert store.view.require(Service, "s").spec_version == 100

    asyncio.run(story())


class HeldLog(InstantLog):
    """Loses what it is given, when it is told to."""

    def __init__(self):
        super().__init__()
        self.lose = asyncio.Event()

    async def propose(self, data, timeout):
        await self.lose.wait()
        raise Unavailable("lost")


def test_what_equals_a_write_in_flight_succeeds_only_as_that_one_does():
    async def story():
        journal = HeldLog()
        store = journal.store = Store(journal, lambda: 1.0)
        write = asyncio.ensure_future(store.update(put(config("a"))))
        await asyncio.sleep(0)
        look = asyncio.ensure_future(store.update(lambda tx: tx.require(Config, "a"), confirm=True))
        await asyncio.sleep(0)
        assert not look.done()
        journal.lose.set()
        for each in (write, look):
            with pytest.raises(Unavailable):
                await each

    asyncio.run(story())


def test_a_confirmed_look_is_a_commit_without_changes():
    async def story():
        store = instant_store(lambda: 1.0)
        await store.update(put(config("a")))
        before = store.view.version
        with store.watch() as commits:
            found = await store.update(lambda tx: tx.require(Config, "a"), confirm=True)
            assert (await commits.get()).changes == ()
        assert found.id == "a"
        assert store.view.version == before + 1

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_each_update_that_succeeded_counts_exactly_once(seed):
    async def story():
        journal = FaultyLog(seed)
        store = journal.store = Store(journal, lambda: 1.0)
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(journal.pump())
            while store.view.get(Service, "s") is None:
                try:
                    await store.update(put(Service(id="s", spec=ServiceSpec(name="web"))))
                except SwarmError:
                    await asyncio.sleep(0)
            ok = unknown = 0

            async def writer():
                nonlocal ok, unknown
                for _ in range(10):
                    try:
                        await store.update(increment)
                        ok += 1
                    except SwarmError:
                        unknown += 1
                    await asyncio.sleep(0)

            await asyncio.gather(*(writer() for _ in range(8)))
            pump.cancel()
        count = store.view.require(Service, "s").spec_version
        assert ok <= count <= ok + unknown
        follower = Store()
        for index, data in enumerate(journal.entries, 1):
            follower.apply(index, data)
        assert follower.capture()() == store.capture()()

    asyncio.run(story())


def test_what_fn_raises_reaches_the_caller_and_writes_nothing():
    async def story():
        store = instant_store(lambda: 1.0)

        def broken(tx):
            tx.put(config("a"))
            raise KeyError("mine")

        with pytest.raises(KeyError):
            await store.update(broken)
        assert store.view.get(Config, "a") is None
        await store.update(put(config("b")))
        assert [c.id for c in store.view.list(Config)] == ["b"]

    asyncio.run(story())


def test_a_follower_cannot_write():
    async def story():
        with pytest.raises(NotLeader):
            await Store().update(put(config("a")))
        store = instant_store(lambda: 1.0)
        store.proposer.refusals.append(NotLeader())
        with pytest.raises(NotLeader):
            await store.update(put(config("a")))
        await store.update(put(config("a")))

    asyncio.run(story())


def test_a_batch_is_cut_and_sees_each_item_anew():
    async def story():
        store = instant_store(lambda: 1.0)
        seen = []

        def write(tx, number):
            seen.append(len(tx.view.list(Config)))
            tx.put(config(f"c{number:04}"))

        await store.batch(range(450), write)
        assert store.view.count(Config) == 450
        assert seen == list(range(450))
        assert len(store.proposer.entries) == -(-450 // CHANGES_MAX)

    asyncio.run(story())


def test_a_batch_is_cut_by_size_and_one_change_that_is_too_large_is_refused():
    async def story():
        store = instant_store(lambda: 1.0)
        big = b"x" * 700_000
        await store.batch("abcdef", lambda tx, key: tx.put(config(key, big)))
        assert len(store.proposer.entries) == 2
        with pytest.raises(ResourceExhausted, match="one change may have"):
            await store.update(put(config("z", b"x" * 4_000_000)))

    asyncio.run(story())


def test_a_watcher_hears_every_commit_in_order():
    async def story():
        store = instant_store(lambda: 1.0)
        with store.watch() as commits:
            await store.update(put(config("a")))
            await store.update(lambda tx: tx.delete(Config, "a"))
            first, second = await commits.get(), await commits.get()
        assert (first.version, first.changes[0].old, first.changes[0].new.id) == (1, None, "a")
        assert (second.changes[0].old.id, second.changes[0].new) == ("a", None)

    asyncio.run(story())


def test_a_restored_snapshot_tells_watchers_to_read_again():
    async def story():
        store = instant_store(lambda: 1.0)
        await store.update(put(config("a")))
        other = Store()
        with other.watch() as commits:
            other.restore(5, store.capture()())
            with pytest.raises(Lagged):
                await commits.get()
        assert other.view.require(Config, "a").meta.version == 1

    asyncio.run(story())


def test_a_snapshot_beside_another_or_after_one_that_failed_is_whole(monkeypatch):
    async def story():
        store = instant_store(lambda: 1.0)
        begun, go_on = threading.Event(), threading.Event()
        encode = driver.encode_again

        def slow(view, known):
            begun.set()
            assert go_on.wait(10)
            return encode(view, known)

        def failing(view, known):
            encode(view, known)
            raise MemoryError

        await store.update(lambda tx: [tx.put(Task(id=each)) for each in "bac"])
        monkeypatch.setattr(driver, "encode_again", slow)
        first = asyncio.get_running_loop().run_in_executor(None, store.capture())
        assert await asyncio.to_thread(begun.wait, 10)
        await store.update(lambda tx: tx.put(Task(id="B")))
        second = store.capture()()
        go_on.set()
        assert [task.id for task in decode_snapshot(await first).list(Task)] == ["a", "b", "c"]
        assert [task.id for task in decode_snapshot(second).list(Task)] == ["B", "a", "b", "c"]
        await store.update(lambda tx: tx.put(Task(id="A")))
        monkeypatch.setattr(driver, "encode_again", failing)
        with pytest.raises(MemoryError):
            store.capture()()
        monkeypatch.setattr(driver, "encode_again", encode)
        assert store.capture()() == encode_snapshot(store.view)

    asyncio.run(story())


def test_an_entry_of_another_leader_resets_the_head():
    async def story():
        one, two = instant_store(lambda: 1.0), instant_store(lambda: 1.0)
        await one.update(put(config("a")))
        two.apply(1, one.proposer.entries[0])
        two.proposer.entries.append(one.proposer.entries[0])
        await two.update(put(config("b")))
        one.apply(2, two.proposer.entries[1])
        one.proposer.entries.append(two.proposer.entries[1])
        await one.update(put(config("c")))
        assert [c.id for c in one.view.list(Config)] == ["a", "b", "c"]

    asyncio.run(story())
