"""Streams in both directions between a manager and a node, for one question each.

Nodes listen to nobody, so the manager announces a conversation in the node's session, and the node
opens the stream. Both directions are bounded: who is slow holds the other side up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from pyswarm.aio import Closed, Pipe, Supervisor
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.errors import InvalidArgument, NotFound, ResourceExhausted, SwarmError, Unavailable

CONVERSATIONS_MAX: Final = 1024
MESSAGES_WAITING_MAX: Final = 4
CONNECT_SECONDS: Final = 5.0

Send = Callable[[str, dispatcher_pb2.Conversation], bool]


class Conversation:
    """The manager's end of one conversation; `open` of `Conversations` makes it."""

    def __init__(self, node_id: str, name: str) -> None:
        self.node_id = node_id
        self.attended = asyncio.Event()
        self.asks: Pipe[dispatcher_pb2.ConversationAsk] = Pipe(MESSAGES_WAITING_MAX)
        self.replies: Pipe[dispatcher_pb2.ConversationAnswer] = Pipe(MESSAGES_WAITING_MAX)
        self.name = name
        self._problem = ""
        self._is_closed = False

    async def ask(self, ask: dispatcher_pb2.ConversationAsk) -> None:
        """Send a message; waits while the node is slow. Raises Unavailable."""
        try:
            await self.asks.put(ask)
        except Closed:
            raise self._gone() from None

    async def answers(self) -> AsyncGenerator[dispatcher_pb2.ConversationAnswer, None]:
        """What the node says until it has said everything; raises Unavailable where it went away,
        and what it refuses as the error that it is."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.attended.wait()
        except TimeoutError:
            raise Unavailable(f"node {self.name} does not answer") from None
        async for answer in self.replies:
            if answer.HasField("failed"):
                raise SwarmError(answer.failed)
            yield answer
        if self._problem:
            raise self._gone()

    def close(self, problem: str = "") -> None:
        """End it, once; `problem` says why, where it is not the end that was to be."""
        if self._is_closed:
            return
        self._is_closed, self._problem = True, problem
        self.attended.set()
        self.asks.close()
        self.replies.close()

    def _gone(self) -> Unavailable:
        return Unavailable(self._problem or f"node {self.name} has ended the conversation")


class Conversations:
    """All of one leadership; `send` announces one to a node, and is False where it has no
    session."""

    def __init__(self, send: Send, new_id: Callable[[], str]) -> None:
        self._send = send
        self._new_id = new_id
        self._open: dict[str, Conversation] = {}

    @asynccontextmanager
    async def open(self, node_id: str, name: str) -> AsyncIterator[Conversation]:
        """Begin one with a node that is called `name`; raises Unavailable, ResourceExhausted."""
        if len(self._open) >= CONVERSATIONS_MAX:
            raise ResourceExhausted("too many conversations with nodes at once, try again later")
        conversation_id = self._new_id()
        conversation = self._open[conversation_id] = Conversation(node_id, name)
        try:
            if not self._send(node_id, dispatcher_pb2.Conversation(id=conversation_id)):
                raise Unavailable(f"node {name} is not connected")
            yield conversation
        finally:
            del self._open[conversation_id]
            conversation.close()

    async def attend(
        self, node_id: str, answers: AsyncIterator[dispatcher_pb2.ConversationAnswer]
    ) -> AsyncGenerator[dispatcher_pb2.ConversationAsk, None]:
        """The stream that a node has opened: what it is asked."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                first = await anext(answers, None)
        except TimeoutError:
            raise InvalidArgument("a conversation begins with its id, and none came") from None
        conversation = self._open.get(first.conversation_id) if first is not None else None
        if conversation is None or conversation.node_id != node_id:
            raise NotFound("this conversation is over")
        if conversation.attended.is_set():
            raise NotFound("this conversation is attended already")
        conversation.attended.set()
        async with Supervisor("conversation") as supervisor:
            supervisor.start(_take(conversation, answers), "answers")
            try:
                async for ask in conversation.asks:
                    yield ask
            finally:
                conversation.close(f"node {conversation.name} has gone away")

    def lost(self, node_id: str, message: str) -> None:
        """The node is down: nobody waits for it."""
        for conversation in list(self._open.values()):
            if conversation.node_id == node_id:
                conversation.close(f"node {conversation.name} is down: {message}")

    def close(self) -> None:
        """This manager no longer leads."""
        for conversation in list(self._open.values()):
            conversation.close("this manager no longer leads: try again")


async def _take(
    conversation: Conversation, answers: AsyncIterator[dispatcher_pb2.ConversationAnswer]
) -> None:
    """Everything that the node says; ends with its half of the stream."""
    with suppress(Closed):
        async for answer in answers:
            await conversation.replies.put(answer)
    conversation.close()
