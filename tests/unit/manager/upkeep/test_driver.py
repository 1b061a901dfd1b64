"""Which changes call for a look at all records."""

import asyncio

from manager.state.driver import Store
from manager.upkeep.driver import Upkeep
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    PayloadSpec,
    Service,
    ServiceSpec,
    TaskSpec,
)


def version(number):
    return Config(id=f"c{number}", version=number, spec=PayloadSpec(name="site", data=b"x"))


def service(*configs):
    references = tuple(FileReference(id=each, name="site") for each in configs)
    container = ContainerSpec(image="i", configs=references)
    return Service(id="web", spec=ServiceSpec(name="web", task=TaskSpec(container=container)))


class Swarm:
    """A store without raft, and the upkeep that observes it."""

    def __init__(self):
        self.store = Store()
        self.store.proposer = self
        self.upkeep = Upkeep(self.store)
        self.upkeep.observe(None)
        self.index = 0

    async def propose(self, data, timeout):
        self.index += 1
        self.store.apply(self.index, data)

    async def put(self, *records):
        """Whether the upkeep has work then."""
        with self.store.watch() as commits:
            await self.store.update(lambda tx: [tx.put(record) for record in records])
            [commit] = commits.get_nowait()
        return self.upkeep.observe(commit.changes)

    def configs(self):
        return [record.id for record in self.store.view.list(Config)]


def test_new_configs_and_services_are_no_work():
    async def story():
        swarm = Swarm()
        await swarm.upkeep.act()
        assert not await swarm.put(version(1))
        assert not await swarm.put(service("c1"))
        assert not await swarm.put(version(2))

    asyncio.run(story())


def test_an_old_version_goes_when_the_service_that_holds_it_has_moved_on():
    async def story():
        swarm = Swarm()
        await swarm.put(version(1), version(2), service("c1"))
        await swarm.upkeep.act()
        assert await swarm.put(version(3))
        await swarm.upkeep.act()
        assert swarm.configs() == ["c1", "c2", "c3"]
        assert await swarm.put(service("c3"))
        await swarm.upkeep.act()
        assert swarm.configs() == ["c2", "c3"]
        assert not await swarm.put(service("c2")), "nothing old is left to be held"

    asyncio.run(story())
