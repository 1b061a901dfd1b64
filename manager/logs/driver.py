"""Log requests under way: asks the nodes, and merges what they answer in the order of time.

A node that does not answer is named, and nobody waits for it: one without a session at once, one
that dies as soon as its session is over, one that says nothing after a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from manager.logs.subscription import AskNode, LogRequest
from pyswarm.aio import Closed, OrderedMerge, Source
from pyswarm.api.v1 import control_pb2, dispatcher_pb2
from pyswarm.errors import NotLeader, ResourceExhausted
from pyswarm.model import Task

LINES_WAITING_MAX: Final = 400
"""Of each node; when the client is slower, the nodes wait for it in turn."""
LINES_MAX: Final = 200
CHUNK_BYTES_MAX: Final = 512 * 1024
REQUESTS_MAX: Final = 256
FOLLOW_SECONDS: Final = 1.0
HOLD_SECONDS: Final = 0.3
"""A new line waits so long for older ones of other nodes."""
SILENT_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 3.0
"""So long after this manager began to lead, nodes that have no session yet are waited for."""
LOOK_SECONDS: Final = 0.1

Send = Callable[[str, dispatcher_pb2.LogSubscription], bool]
Line = control_pb2.LogLine


@dataclass(slots=True)
class _Open:
    """One request; `sources` are the askings of nodes that are not answered, `waiting` those of
    them whose stream has not come."""

    id: str
    message: control_pb2.LogsRequest
    hostname: Callable[[str], str]
    request: LogRequest
    merge: OrderedMerge[Line]
    is_cut: bool = False
    sources: dict[Source[Line], str] = field(default_factory=dict)
    waiting: dict[str, list[Source[Line]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def end(self, source: Source[Line]) -> None:
        """Nothing more comes of this asking."""
        node_id = self.sources.pop(source, None)
        source.end()
        if node_id is not None and source in self.waiting.get(node_id, ()):
            self.waiting[node_id].remove(source)

    def lose(self, node_id: str, problem: str) -> None:
        """Nothing more comes of this node."""
        for source in [s for s, node in self.sources.items() if node == node_id]:
            self.end(source)
        self.request.lost(node_id)
        self.problems.append(problem)


class LogBroker:
    """Joins clients that ask for logs with the nodes that have them.

    `send` passes a subscription to a node's session, and is False where there is none;
    `connected` are the nodes that have one.
    """

    def __init__(
        self, send: Send, connected: Callable[[], Collection[str]], new_id: Callable[[], str]
    ) -> None:
        self._send = send
        self._connected = connected
        self._new_id = new_id
        self._open: dict[str, _Open] = {}
        self._settled_at = 0.0

    def open(self) -> None:
        """This manager leads: the nodes are on their way to it."""
        self._settled_at = asyncio.get_running_loop().time() + SETTLE_SECONDS

    def close(self) -> None:
        """This manager leads no more: every request ends, to be made again where nodes answer."""
        for opened in self._open.values():
            opened.is_cut = True
            for source in list(opened.sources):
                opened.end(source)

    async def _settle(self, tasks: Callable[[], Iterable[Task]]) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < self._settled_at:
            there = self._connected()
            if all(not task.node_id or task.node_id in there for task in tasks()):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def read(
        self,
        tasks: Callable[[], Iterable[Task]],
        hostname: Callable[[str], str],
        message: control_pb2.LogsRequest,
    ) -> AsyncIterator[control_pb2.LogChunk]:
        """The logs of the tasks that `tasks` names, now and, when following, later.

        Raises NotLeader as soon as this manager does not lead any more.
        """
        if len(self._open) >= REQUESTS_MAX:
            raise ResourceExhausted("too many requests for logs at once, try again later")
        opened = _Open(
            self._new_id(),
            message,
            hostname,
            LogRequest(follow=message.follow),
            OrderedMerge(HOLD_SECONDS, LINES_WAITING_MAX),
        )
        self._open[opened.id] = opened
        try:
            await self._settle(tasks)
            while True:
                if opened.is_cut:
                    raise NotLeader("another manager leads now")
                is_past = bool(message.until) and time.time() > message.until
                if not (message.follow and is_past):
                    self._ask(opened, tasks())
                self._name_silent(opened)
                while opened.problems:
                    yield control_pb2.LogChunk(problem=opened.problems.pop(0))
                is_complete = opened.request.complete or (is_past and not opened.request.pending)
                if is_complete and opened.merge.is_over:
                    return
                if opened.merge.is_over:  # nobody is asked: look for new tasks in a moment
                    await asyncio.sleep(FOLLOW_SECONDS)
                lines = await opened.merge.take(LINES_MAX, FOLLOW_SECONDS)
                if opened.is_cut:
                    continue
                for chunk in _chunks(opened.request, lines):
                    yield chunk
        finally:
            del self._open[opened.id]
            for node_id in opened.request.pending:
                self._send(node_id, dispatcher_pb2.LogSubscription(id=opened.id, close=True))
            for source in list(opened.sources):
                opened.end(source)

    def _ask(self, opened: _Open, tasks: Iterable[Task]) -> None:
        message = opened.message
        for ask in opened.request.ask(tasks, self._connected()):
            source = opened.merge.add()
            opened.sources[source] = ask.node_id
            opened.waiting.setdefault(ask.node_id, []).append(source)
            if not self._send(ask.node_id, _subscription(opened.id, ask, message)):
                opened.lose(
                    ask.node_id,
                    f"node {opened.hostname(ask.node_id)} is not connected: "
                    f"the logs of {len(ask.tasks)} of its tasks are not shown",
                )

    def _name_silent(self, opened: _Open) -> None:
        now = asyncio.get_running_loop().time()
        for source in opened.merge.blocking():
            node_id = opened.sources.get(source)
            if node_id is not None and now - source.empty_since > SILENT_SECONDS:
                name = opened.hostname(node_id)
                problem = f"node {name} does not answer: what it still has to say is not shown"
                opened.lose(node_id, problem)

    async def take(
        self, node_id: str, messages: AsyncIterator[dispatcher_pb2.PublishedLogs]
    ) -> None:
        """A node's answer to one asking; ends early where nobody listens any more."""
        opened: _Open | None = None
        source: Source[Line] | None = None
        is_done = False
        try:
            with suppress(Closed):
                async for message in messages:
                    if opened is None or source is None:
                        opened = self._open.get(message.subscription_id)
                        waiting = opened.waiting.get(node_id) if opened is not None else None
                        if opened is None or not waiting:
                            return
                        source = waiting.pop(0)
                    await _give(opened, source, node_id, message)
                    if message.done:
                        is_done = True
                        return
        finally:
            if opened is not None and source in opened.sources:
                opened.end(source)
                if is_done:
                    opened.request.done(node_id)
                else:
                    opened.lose(node_id, f"node {opened.hostname(node_id)} has stopped to answer")

    def lost(self, node_id: str) -> None:
        """A node's session ended: it will not answer any more."""
        for opened in self._open.values():
            if node_id in opened.request.pending:
                name = opened.hostname(node_id)
                problem = f"node {name} has gone away: what it still has to say is not shown"
                opened.lose(node_id, problem)


def _subscription(
    request_id: str, ask: AskNode, message: control_pb2.LogsRequest
) -> dispatcher_pb2.LogSubscription:
    return dispatcher_pb2.LogSubscription(
        id=request_id,
        tasks=ask.tasks,
        follow=message.follow,
        tail=-1 if ask.since else message.tail,
        since=max(ask.since or 0.0, message.since),
        until=message.until,
    )


async def _give(
    opened: _Open, source: Source[Line], node_id: str, message: dispatcher_pb2.PublishedLogs
) -> None:
    source.alive()
    if message.chunk.problem:
        opened.problems.append(f"{opened.hostname(node_id)}: {message.chunk.problem}")
    for line in message.chunk.lines:
        line.node_id = node_id
        await source.put(line.timestamp, line)
    if message.caught_up:
        source.caught_up()


def _chunks(request: LogRequest, lines: list[Line]) -> Iterator[control_pb2.LogChunk]:
    """The lines that were not shown before, in messages of a bounded size."""
    chunk, size = control_pb2.LogChunk(), 0
    for line in lines:
        if request.follow and not request.positions.take(line.task_id, line.timestamp):
            continue
        if size and size + len(line.data) > CHUNK_BYTES_MAX:
            yield chunk
            chunk, size = control_pb2.LogChunk(), 0
        chunk.lines.append(line)
        size += len(line.data)
    if chunk.lines:
        yield chunk
