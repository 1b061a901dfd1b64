"""Asks a node something and waits for its answer, for as long as the asker has patience.

The question travels on the node's session; the answer comes by a call of the node. A new kind of
question is a member of `NodeAsk` and of `NodeAnswer`, and a handler in the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from pyswarm.aio import Supervisor
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.errors import DeadlineExceeded, ResourceExhausted, SwarmError, Unavailable

WAITING_MAX = 4096

Send = Callable[[str, dispatcher_pb2.NodeAsk], bool]


@dataclass(frozen=True, slots=True)
class _Waiting:
    node_id: str
    answer: asyncio.Future[dispatcher_pb2.NodeAnswer]


class NodeCalls:
    """Questions under way. `send` puts one on a node's session; False where there is none."""

    def __init__(self, send: Send, new_id: Callable[[], str]) -> None:
        self._send = send
        self._new_id = new_id
        self._waiting: dict[str, _Waiting] = {}

    async def ask(
        self, node_id: str, question: dispatcher_pb2.NodeAsk, timeout_seconds: float
    ) -> dispatcher_pb2.NodeAnswer:
        """The node's answer. Raises Unavailable where it is not connected or gets lost meanwhile,
        DeadlineExceeded, and SwarmError with the node's own sentence where it cannot answer."""
        if len(self._waiting) >= WAITING_MAX:
            raise ResourceExhausted("too many questions to nodes at once, try again later")
        ask = dispatcher_pb2.NodeAsk()
        ask.CopyFrom(question)
        ask.id = self._new_id()
        future: asyncio.Future[dispatcher_pb2.NodeAnswer] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting[ask.id] = _Waiting(node_id, future)
        try:
            if not self._send(node_id, ask):
                raise Unavailable("it is not connected")
            async with asyncio.timeout(timeout_seconds):
                answer = await future
        except TimeoutError:
            raise DeadlineExceeded(f"it gave no answer in {timeout_seconds:g} s") from None
        finally:
            del self._waiting[ask.id]
        if answer.problem:
            raise SwarmError(answer.problem)
        return answer

    async def ask_all(
        self,
        node_ids: Iterable[str],
        question: dispatcher_pb2.NodeAsk,
        timeout_seconds: float,
    ) -> AsyncIterator[tuple[str, dispatcher_pb2.NodeAnswer | SwarmError]]:
        """What each node answers, or why it does not, as the answers come."""
        done: asyncio.Queue[tuple[str, dispatcher_pb2.NodeAnswer | SwarmError]] = asyncio.Queue()

        async def one(node_id: str) -> None:
            try:
                done.put_nowait((node_id, await self.ask(node_id, question, timeout_seconds)))
            except SwarmError as error:
                done.put_nowait((node_id, error))

        asked = list(node_ids)
        async with Supervisor("questions to nodes") as askers:
            for node_id in asked:
                askers.start(one(node_id), node_id)
            for _ in asked:
                yield await done.get()

    def answered(self, node_id: str, answer: dispatcher_pb2.NodeAnswer) -> None:
        """Take an answer; one that nobody waits for, or of another node, is dropped."""
        waiting = self._waiting.get(answer.id)
        if waiting and waiting.node_id == node_id and not waiting.answer.done():
            waiting.answer.set_result(answer)

    def lost(self, node_id: str) -> None:
        """A node's session ended: it will not answer any more."""
        for waiting in self._waiting.values():
            if waiting.node_id == node_id and not waiting.answer.done():
                waiting.answer.set_exception(Unavailable("its connection was lost"))
