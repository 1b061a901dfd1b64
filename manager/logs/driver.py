"""Log requests under way: passes them to the nodes, and what these answer back to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from manager.logs.subscription import LogRequest
from pyswarm.api.v1 import control_pb2, dispatcher_pb2
from pyswarm.errors import ResourceExhausted
from pyswarm.model import Task

CHUNKS_MAX = 256
"""Chunks that wait for one client; when it is slower, the nodes wait for it in turn."""
REQUESTS_MAX = 256
FOLLOW_SECONDS = 1.0

Send = Callable[[str, dispatcher_pb2.LogSubscription], bool]


@dataclass(slots=True)
class _Open:
    request: LogRequest
    chunks: asyncio.Queue[control_pb2.LogChunk | None] = field(
        default_factory=lambda: asyncio.Queue(CHUNKS_MAX)
    )


class LogBroker:
    """Joins clients that ask for logs with the nodes that have them.

    `send` passes a subscription to a node's session, and is False where there is none.
    """

    def __init__(self, send: Send, new_id: Callable[[], str]) -> None:
        self._send = send
        self._new_id = new_id
        self._open: dict[str, _Open] = {}

    async def read(
        self,
        tasks: Callable[[], Iterable[Task]],
        hostname: Callable[[str], str],
        request: control_pb2.LogsRequest,
    ) -> AsyncIterator[control_pb2.LogChunk]:
        """The logs of the tasks that `tasks` names, now and, when following, later."""
        if len(self._open) >= REQUESTS_MAX:
            raise ResourceExhausted("too many requests for logs at once, try again later")
        subscription_id = self._new_id()
        opened = _Open(LogRequest(follow=request.follow))
        self._open[subscription_id] = opened
        try:
            while True:
                for problem in self._ask(subscription_id, opened, tasks(), hostname, request):
                    yield control_pb2.LogChunk(problem=problem)
                if opened.request.complete and opened.chunks.empty():
                    return
                try:
                    async with asyncio.timeout(FOLLOW_SECONDS):
                        chunk = await opened.chunks.get()
                except TimeoutError:
                    continue
                if chunk is not None:
                    yield chunk
        finally:
            del self._open[subscription_id]
            for node_id in opened.request.pending:
                self._send(node_id, dispatcher_pb2.LogSubscription(id=subscription_id, close=True))

    def _ask(
        self,
        subscription_id: str,
        opened: _Open,
        tasks: Iterable[Task],
        hostname: Callable[[str], str],
        request: control_pb2.LogsRequest,
    ) -> list[str]:
        problems = []
        for ask in opened.request.ask(tasks):
            sent = self._send(
                ask.node_id,
                dispatcher_pb2.LogSubscription(
                    id=subscription_id,
                    tasks=ask.tasks,
                    follow=request.follow,
                    tail=request.tail,
                    since=request.since,
                ),
            )
            if not sent:
                opened.request.done(ask.node_id)
                problems.append(
                    f"node {hostname(ask.node_id)} is not connected: "
                    f"the logs of {len(ask.tasks)} of its tasks are not shown"
                )
        return problems

    async def publish(self, node_id: str, message: dispatcher_pb2.PublishedLogs) -> bool:
        """Take what a node says; False where nobody listens any more."""
        opened = self._open.get(message.subscription_id)
        if opened is None or node_id not in opened.request.pending:
            return False
        if message.HasField("chunk"):
            for line in message.chunk.lines:
                line.node_id = node_id
            await opened.chunks.put(message.chunk)
        if message.done:
            self._finish(opened, node_id)
        return True

    def lost(self, node_id: str) -> None:
        """A node's session ended: it will not answer any more."""
        for opened in self._open.values():
            while node_id in opened.request.pending:
                self._finish(opened, node_id)

    def _finish(self, opened: _Open, node_id: str) -> None:
        opened.request.done(node_id)
        if not opened.chunks.full():
            opened.chunks.put_nowait(None)
