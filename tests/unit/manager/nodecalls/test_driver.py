"""Questions to nodes: each ends, whatever becomes of the node."""

import asyncio

import pytest

from manager.nodecalls.driver import NodeCalls
from pyswarm.api.v1 import dispatcher_pb2, system_pb2
from pyswarm.errors import DeadlineExceeded, SwarmError, Unavailable

QUESTION = dispatcher_pb2.NodeAsk(disk_usage=system_pb2.DiskUsageRequest())


class Nodes:
    """The sessions: `asked` holds what was sent; only `connected` nodes have one."""

    def __init__(self, *connected: str) -> None:
        self.connected = connected
        self.asked: list[tuple[str, str]] = []
        self.calls = NodeCalls(self.send, self.new_id)

    def new_id(self) -> str:
        return f"q{len(self.asked) + 1}"

    def send(self, node_id: str, ask: dispatcher_pb2.NodeAsk) -> bool:
        if node_id not in self.connected:
            return False
        self.asked.append((node_id, ask.id))
        return True

    def answer(self, node_id: str, question_id: str, name: str = "", problem: str = "") -> None:
        usage = system_pb2.NodeUsage(hostname=name)
        answer = dispatcher_pb2.NodeAnswer(id=question_id, disk_usage=usage, problem=problem)
        self.calls.answered(node_id, answer)


async def asking(nodes: Nodes, node_id: str, seconds: float = 30.0) -> str:
    answer = await nodes.calls.ask(node_id, QUESTION, seconds)
    return answer.disk_usage.hostname


async def started(nodes: Nodes, count: int) -> None:
    while len(nodes.asked) < count:
        await asyncio.sleep(0)


def test_an_answer_reaches_who_asked_and_no_other_nodes_answer_does() -> None:
    async def main() -> None:
        nodes = Nodes("n1", "n2")
        waiting = asyncio.ensure_future(asking(nodes, "n1"))
        await started(nodes, 1)
        nodes.answer("n2", "q1", "forged")
        nodes.answer("n1", "q9", "late")
        nodes.answer("n1", "q1", "true")
        nodes.answer("n1", "q1", "twice")
        assert await waiting == "true"

    asyncio.run(main())


def test_a_node_that_is_away_gets_lost_or_is_silent_does_not_hold_the_asker_up() -> None:
    async def main() -> None:
        nodes = Nodes("n1")
        with pytest.raises(Unavailable, match="not connected"):
            await asking(nodes, "n2")
        waiting = asyncio.ensure_future(asking(nodes, "n1"))
        await started(nodes, 1)
        nodes.calls.lost("n1")
        with pytest.raises(Unavailable, match="lost"):
            await waiting
        with pytest.raises(DeadlineExceeded, match="no answer in"):
            await asking(nodes, "n1", 0.0)

    asyncio.run(main())


def test_of_many_nodes_each_is_named_with_its_answer_or_its_problem() -> None:
    async def main() -> None:
        nodes = Nodes("n1", "n2")

        async def all_of_them() -> dict[str, dispatcher_pb2.NodeAnswer | SwarmError]:
            answers = nodes.calls.ask_all(["n1", "n2", "n3"], QUESTION, 30.0)
            return {node_id: answer async for node_id, answer in answers}

        waiting = asyncio.ensure_future(all_of_them())
        await started(nodes, 2)
        by_node = dict(nodes.asked)
        nodes.answer("n1", by_node["n1"], "one")
        nodes.answer("n2", by_node["n2"], problem="containerd is away")
        found = await waiting
        assert isinstance(found["n3"], Unavailable)
        assert isinstance(found["n2"], SwarmError)
        assert found["n2"].message == "containerd is away"
        assert found["n1"].disk_usage.hostname == "one"

    asyncio.run(main())
