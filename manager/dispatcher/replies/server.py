"""What nodes answer when they are asked, and what they have beside tasks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc.aio

from manager.conversations.driver import Conversations
from manager.dispatcher import volumes
from manager.dispatcher.sessions import Sessions
from manager.logs.driver import LogBroker
from manager.nodecalls.driver import NodeCalls
from manager.state.driver import Store
from manager.state.store import Transaction
from pyswarm.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc
from pyswarm.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherContext:
    """What the dispatcher is given: who calls, who leads, what the time is."""

    store: Store
    caller: Callable[[grpc.aio.ServicerContext[Any, Any]], str]
    leader_address: Callable[[], str]
    manager_addresses: Callable[[], list[str]]
    new_id: Callable[[], str]
    clock: Callable[[], float]
    """Seconds since the epoch, for records."""
    monotonic: Callable[[], float]


class Replies(dispatcher_pb2_grpc.DispatcherServicer):
    """The part of the dispatcher that takes answers: to log subscriptions, conversations and
    questions; and the nodes' volumes."""

    logs: LogBroker
    conversations: Conversations
    calls: NodeCalls

    def __init__(self, context: DispatcherContext) -> None:
        self._context = context
        self._store = context.store
        self._sessions = Sessions(period_seconds=1.0, misses=3)

    @abstractmethod
    def _require_open(self) -> None:
        """Raises NotLeader where this manager does not lead."""

    async def PublishLogs(
        self,
        request_iterator: AsyncIterator[dispatcher_pb2.PublishedLogs],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dispatcher_pb2.StatusReply:
        """What a node answers to a log subscription."""
        self._require_open()
        node_id = self._context.caller(context)
        await self.logs.take(node_id, request_iterator)
        return dispatcher_pb2.StatusReply()

    async def Converse(
        self,
        request_iterator: AsyncIterator[dispatcher_pb2.ConversationAnswer],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[dispatcher_pb2.ConversationAsk]:
        """A conversation that this manager has announced to the calling node."""
        self._require_open()
        asks = self.conversations.attend(self._context.caller(context), request_iterator)
        async with aclosing(asks):
            async for ask in asks:
                yield ask

    async def ReportVolumes(
        self, request: dispatcher_pb2.VolumeReport, context: grpc.aio.ServicerContext[Any, Any]
    ) -> dispatcher_pb2.StatusReply:
        """Every volume of the calling node; answered once it is committed."""
        self._require_open()
        node_id = self._context.caller(context)
        if not self._sessions.is_current(node_id, request.session_id):
            raise NotFound("this session is over: open a new one")

        def take(tx: Transaction) -> None:
            new_id = self._context.new_id
            for volume in volumes.taken(tx.view, node_id, request, new_id):
                tx.put(volume)

        await self._store.update(take)
        return dispatcher_pb2.StatusReply()

    async def Answer(
        self, request: dispatcher_pb2.NodeAnswer, context: grpc.aio.ServicerContext[Any, Any]
    ) -> dispatcher_pb2.StatusReply:
        """What a node answers to a question."""
        self._require_open()
        self.calls.answered(self._context.caller(context), request)
        return dispatcher_pb2.StatusReply()
