"""A node answers each question once, also those that it cannot answer."""

import asyncio
from typing import Any

import pytest

from agent.nodecalls.driver import Answerer
from pyswarm.api.v1 import dispatcher_pb2, system_pb2
from pyswarm.errors import Unavailable

USAGE = dispatcher_pb2.NodeAsk(id="q1", disk_usage=system_pb2.DiskUsageRequest())
PRUNE = dispatcher_pb2.NodeAsk(id="q2", prune=system_pb2.PruneRequest(all=True))


async def fine(question: Any) -> dispatcher_pb2.NodeAnswer:
    return dispatcher_pb2.NodeAnswer(disk_usage=system_pb2.NodeUsage(images_bytes=7))


async def away(question: Any) -> dispatcher_pb2.NodeAnswer:
    raise Unavailable("containerd does not answer: start it")


async def broken(question: Any) -> dispatcher_pb2.NodeAnswer:
    raise KeyError("a bug")


@pytest.mark.parametrize(
    ("handler", "ask", "problem"),
    [
        (fine, USAGE, ""),
        (away, USAGE, "containerd does not answer: start it"),
        (broken, USAGE, "internal error: KeyError('a bug')"),
        (fine, PRUNE, "this node cannot answer that: it runs another version of pyswarm"),
        (fine, dispatcher_pb2.NodeAsk(id="q3"), "this node cannot answer that"),
    ],
)
def test_a_question_is_answered_once(
    handler: Any, ask: dispatcher_pb2.NodeAsk, problem: str
) -> None:
    answers: list[dispatcher_pb2.NodeAnswer] = []

    async def send(answer: dispatcher_pb2.NodeAnswer) -> None:
        answers.append(answer)

    async def main() -> None:
        answerer = Answerer({"disk_usage": handler}, send)
        answerer.take(ask)
        async with asyncio.timeout(30):
            while not answers:
                await asyncio.sleep(0)
        await answerer.close()

    asyncio.run(main())
    [answer] = answers
    assert answer.id == ask.id
    assert answer.problem.startswith(problem)
    assert bool(answer.problem) == bool(problem)
    assert answer.disk_usage.images_bytes == (0 if problem else 7)
