"""The API for looking into the swarm: events, statistics, programs in tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc.aio

from manager.conversations.driver import Conversations
from manager.events.derive import Event
from manager.events.driver import EventLog
from manager.observe.programs.driver import Programs
from manager.observe.statistics.driver import Statistics
from manager.state.driver import Store
from pyswarm.api.v1 import observe_pb2, observe_pb2_grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveContext:
    """What the API is given; `asked_through` is the node whose manager the user talked to."""

    store: Store
    events: EventLog
    conversations: Callable[[], Conversations]
    new_id: Callable[[], str]
    clock: Callable[[], float]
    asked_through: Callable[[], str]


class ObserveServer(observe_pb2_grpc.ObserveServicer):
    """Answers on the leader; a follower passes calls on before they come here."""

    def __init__(self, context: ObserveContext) -> None:
        self._events = context.events
        self._programs = Programs(
            context.store,
            context.conversations,
            context.new_id,
            context.clock,
            context.asked_through,
        )
        self._statistics = Statistics(context.store, context.conversations)

    async def Events(
        self, request: observe_pb2.EventsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[observe_pb2.EventBatch]:
        """What has happened, and what happens."""
        filters: dict[str, list[str]] = {}
        for each in request.filters:
            filters.setdefault(each.key, []).append(each.value)
        batches = self._events.read(
            filters,
            since=request.since,
            until=request.until,
            follow=request.follow,
            after=(request.after_version, request.after_place),
        )
        async with aclosing(batches):
            async for batch in batches:
                yield observe_pb2.EventBatch(events=map(_message, batch))

    async def Exec(
        self,
        request_iterator: AsyncIterator[observe_pb2.ExecInput],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[observe_pb2.ExecOutput]:
        """Run a program in a task."""
        outputs = self._programs.run(request_iterator)
        async with aclosing(outputs):
            async for output in outputs:
                yield output

    async def Stats(
        self, request: observe_pb2.StatsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[observe_pb2.StatsBatch]:
        """What tasks use."""
        batches = self._statistics.read(request)
        async with aclosing(batches):
            async for batch in batches:
                yield batch


def _message(event: Event) -> observe_pb2.Event:
    return observe_pb2.Event(
        type=event.type,
        action=event.action,
        id=event.id,
        attributes=event.attributes,
        time=event.time,
        version=event.version,
        place=event.place,
    )
