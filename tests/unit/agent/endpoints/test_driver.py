import asyncio

from agent.disk import WorkerState
from agent.endpoints.driver import NetworkKeeper
from agent.networks import NetworkNews
from pyswarm.model import EndpointSet, EndpointState, TaskEndpoint
from pyswarm.testing.fake_overlay import FakeApplied, FakeOverlay

LEAVES = (TaskEndpoint(task_id="t", state=EndpointState.DRAINING),)


class OneFailsAtFirst(FakeOverlay):
    tries = 0

    async def apply(self, sets):
        self.tries += 1
        await super().apply(sets)
        good = sets if self.tries > 1 else [s for s in sets if s.network_id != "bad"]
        return FakeApplied({s.network_id: s.version for s in good}, ("bad failed",))


def test_a_network_that_fails_is_tried_again_and_the_others_count_at_once(tmp_path):
    async def story():
        told = []
        keeper = NetworkKeeper(OneFailsAtFirst(), WorkerState(tmp_path), told.append)
        await keeper.start()
        keeper.take(
            NetworkNews(
                complete=(
                    EndpointSet(network_id="bad", version=7, tasks=LEAVES),
                    EndpointSet(network_id="good", version=8, tasks=LEAVES),
                )
            )
        )
        async with asyncio.timeout(30):
            await keeper.known(["good"])
            await keeper.known(["bad"])
        await keeper.stop()
        return told

    assert asyncio.run(story()) == [{"good": 8}, {"bad": 7, "good": 8}]


def test_only_what_the_managers_wait_for_is_told(tmp_path):
    async def story():
        told = []
        keeper = NetworkKeeper(FakeOverlay(), WorkerState(tmp_path), told.append)
        await keeper.start()
        for version, tasks in ((1, ()), (2, LEAVES), (3, ())):
            news = EndpointSet(network_id="n", version=version, tasks=tasks)
            keeper.take(NetworkNews(complete=(news,)))
            await asyncio.sleep(0.05)
        await keeper.known(["n"])
        await keeper.stop()
        return told

    assert asyncio.run(story()) == [{}, {"n": 2}, {}]
