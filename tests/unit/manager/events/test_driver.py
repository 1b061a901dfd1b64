"""A manager's events: from its commits and its leader, told to who asks."""

import asyncio

from manager.events.driver import EventLog
from pyswarm.model import Config, Node, NodeDescription, PayloadSpec
from pyswarm.testing.store import instant_store


def config(key):
    return Config(id=key, spec=PayloadSpec(name=key))


class Manager:
    def __init__(self):
        self.now = 100.0
        self.leader = ("", 0)
        self.store = instant_store(lambda: self.now)
        self.events = EventLog(self.store, lambda: self.now, lambda: self.leader)

    async def put(self, record):
        await self.store.update(lambda tx: tx.put(record))

    async def read(self, filters=(), **bounds):
        wanted = {"since": 0.0, "until": 0.0, "follow": False} | bounds
        batches = self.events.read(dict(filters), **wanted)
        return [(e.action, e.id) async for batch in batches for e in batch]


def story(told):
    async def main():
        manager = Manager()
        running = asyncio.ensure_future(manager.events.run())
        try:
            return await told(manager)
        finally:
            running.cancel()

    return asyncio.run(main())


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_was_committed_can_be_read_within_times():
    async def told(manager):
        for key in ("a", "b", "c"):
            await manager.put(config(key))
            manager.now += 10
        await turns()
        return (
            await manager.read(),
            await manager.read(since=110.0),
            await manager.read(until=110.0),
            await manager.read({"config": ["b"]}),
        )

    everything, late, early, one = story(told)
    assert everything == [("create", "a"), ("create", "b"), ("create", "c")]
    assert late == everything[1:]
    assert early == everything[:2]
    assert one == everything[1:2]


def test_who_follows_gets_what_comes_and_only_that():
    async def told(manager):
        await manager.put(config("a"))
        await turns()
        seen = []

        async def follow():
            batches = manager.events.read({}, since=0.0, until=0.0, follow=True)
            async for batch in batches:
                seen.extend(event.id for event in batch)

        following = asyncio.ensure_future(follow())
        await turns()
        await manager.put(config("b"))
        await turns()
        following.cancel()
        return seen

    assert story(told) == ["b"]


def test_a_client_goes_on_behind_the_last_event_that_it_saw():
    async def told(manager):
        for key in ("a", "b"):
            await manager.put(config(key))
        await turns()
        return await manager.read(after=(1, 0))

    assert story(told) == [("create", "b")]


def test_a_new_leader_is_news():
    async def told(manager):
        for key in ("n1", "n2"):
            await manager.put(Node(id=key, description=NodeDescription(hostname=f"m{key}")))
        manager.leader = ("n1", 1)
        await manager.put(config("a"))
        await turns()
        manager.leader = ("n2", 2)
        await manager.put(config("b"))
        await turns()
        batches = manager.events.read({"event": ["update"]}, since=0.0, until=0.0, follow=False)
        return [(e.id, e.attributes["leader.new"]) async for b in batches for e in b]

    assert story(told) == [("n1", "true"), ("n1", "false"), ("n2", "true")]


def test_what_is_applied_again_is_not_of_now():
    async def told(manager):
        manager.events.replayed_to = 2
        await manager.put(config("a"))
        await turns()
        manager.now = 5000.0
        await manager.store.update(lambda tx: tx.delete(Config, "a"))
        await turns()
        batches = manager.events.read({"event": ["remove"]}, since=0.0, until=0.0, follow=False)
        return [event.time async for batch in batches for event in batch]

    assert story(told) == [100.0]
