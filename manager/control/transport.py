"""Writes and streams go to the leader, here or by another manager; reads are answered here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from pyswarm.errors import (
    AlreadyExists,
    DeadlineExceeded,
    NotLeader,
    ResourceExhausted,
    SequenceConflict,
    SwarmError,
    Unavailable,
)
from pyswarm.rpc import swarm_errors

FORWARDED = "pyswarm-forwarded"
LEADER_WAIT_SECONDS = 15.0
"""How long a call waits for an election to end before it fails."""
ELECTION_SECONDS = 4.0
"""How long it waits where this manager knows why it cannot lead itself: others would by then."""
RETRY_SECONDS: Final = 0.01
"""Before the second try, and twice as long before each further one: mostly the leadership has just
been handed over."""
RETRY_SECONDS_MAX: Final = 0.1
READ_SECONDS = 2.0
"""How long a manager tries to be sure of its state before the leader is asked instead."""

SILENCE_SECONDS = 1.0
"""How long an old leader may take to end its calls once another one leads."""

READS: Final = ("Get", "List")
LEADER_SEES: Final = frozenset(("GetNode", "ListNodes"))
"""Reads whose answer tells which managers are reachable: only the leader hears from all of them."""

Context = grpc.aio.ServicerContext


class LeaderFirst(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """The handlers of services: unary, server-streaming, or streaming both ways.

    A servicer answers here while `is_leader()`; else `leader()` gives a channel to the leader, or
    None where none is known; then `trouble()` may say why it is not this one. A call that came
    from another manager is not passed on again: its sender is told to look for the leader again.

    A read is answered here after `confirm(seconds)`, which waits until the state holds everything
    that was committed before, and raises where that cannot be known in time. The leader needs it
    too: another may have taken its place, and it may not have heard of it.
    """

    def __init__(
        self,
        servicers: Iterable[tuple[ServiceDescriptor, Any]],
        is_leader: Callable[[], bool],
        leader: Callable[[], grpc.aio.Channel | None],
        confirm: Callable[[float], Awaitable[object]],
        trouble: Callable[[], SwarmError | None] = lambda: None,
    ) -> None:
        self._is_leader = is_leader
        self._leader = leader
        self._confirm = confirm
        self._trouble = trouble
        self._handlers = {
            f"/{service.full_name}/{method.name}": self._handler(service, method, servicer)
            for service, servicer in servicers
            for method in service.methods
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method, or None where it is of no service here."""
        return self._handlers.get(handler_call_details.method)

    def _handler(
        self, service: ServiceDescriptor, method: MethodDescriptor, servicer: Any
    ) -> grpc.RpcMethodHandler[Any, Any]:
        path = f"/{service.full_name}/{method.name}"
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        here = getattr(servicer, method.name)
        kind = grpc.unary_stream_rpc_method_handler
        answer: Callable[..., Any] = self._stream(path, here, response)
        if method.client_streaming:
            assert method.server_streaming, f"{path}: nobody passes on a stream with one answer"
            kind = grpc.stream_stream_rpc_method_handler
            answer = self._both_ways(path, here, request, response)
        elif not method.server_streaming:
            kind = grpc.unary_unary_rpc_method_handler
            if method.name.startswith(READS):
                answer = self._read(path, here, response, method.name in LEADER_SEES)
            else:
                answer = self._unary(path, here, response)
        return kind(
            answer,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )

    async def _there(self, context: Any) -> grpc.aio.Channel:
        """A channel to the leader; waits through an election, up to a bound."""
        forwarded = _is_forwarded(context)
        begun = time.monotonic()
        pauses = _pauses()
        while True:
            channel = None if forwarded else self._leader()
            if channel is not None:
                return channel
            if forwarded:
                raise NotLeader
            if self._is_leader():
                raise _NowHere
            waited = time.monotonic() - begun
            trouble = self._trouble()
            if trouble is not None and waited > ELECTION_SECONDS:
                raise trouble
            if waited > LEADER_WAIT_SECONDS:
                raise Unavailable(
                    "the swarm does not have a leader: it is possible that too few managers are "
                    "online. Make sure more than half of the managers are online"
                )
            await asyncio.sleep(next(pauses))

    def _read(
        self, path: str, here: Callable[..., Awaitable[Any]], response: Any, leader_sees: bool
    ) -> Any:
        async def confirmed(request: Any, context: Any) -> Any:
            await self._confirm(READ_SECONDS)
            return await here(request, context)

        at_leader = self._unary(path, confirmed, response)

        async def answer(request: Any, context: Any) -> Any:
            if leader_sees:
                return await at_leader(request, context)
            try:
                await self._confirm(READ_SECONDS)
            except (Unavailable, DeadlineExceeded, ResourceExhausted):
                # This manager may be far behind, or its disk may be full; the leader is not.
                return await at_leader(request, context)
            return await here(request, context)

        return answer

    def _unary(self, path: str, here: Callable[..., Awaitable[Any]], response: Any) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            deadline = time.monotonic() + LEADER_WAIT_SECONDS
            lost: Unavailable | None = None
            pauses = _pauses()
            while True:
                try:
                    if self._is_leader():
                        return await here(request, context)
                    channel = await self._there(context)
                    call = channel.unary_unary(
                        path,
                        request_serializer=type(request).SerializeToString,
                        response_deserializer=response.FromString,
                    )
                    return await self._asked(call(request, metadata=((FORWARDED, "1"),)), channel)
                except _NowHere:
                    continue
                except (AlreadyExists, SequenceConflict) as error:
                    if lost is None:
                        raise
                    raise _may_be_ours(error) from error
                except Unavailable as error:
                    # It no longer leads, hands over, or is gone. The call is made again: a new
                    # leader serves only once everything that the old one committed is applied,
                    # updates name the version that they change, and names are unique. Who passed
                    # it on makes it again: this manager may be about to end, and would keep it.
                    known = isinstance(error, NotLeader)
                    repeats = known or _may_repeat(request)
                    if not repeats or _is_forwarded(context) or time.monotonic() > deadline:
                        raise
                    if not known:
                        lost = error
                await asyncio.sleep(next(pauses))

        return answer

    async def _asked(self, call: Any, channel: grpc.aio.Channel) -> Any:
        """The answer of the leader on `channel`; raises Unavailable where another one leads and it
        stays silent: who was cut off answers nobody, which its connection shows much later."""
        answer = asyncio.ensure_future(_awaited(call))
        try:
            while True:
                moved = self._is_leader() or self._leader() not in (None, channel)
                done, _ = await asyncio.wait({answer}, timeout=SILENCE_SECONDS)
                if done:
                    return answer.result()
                if moved:
                    raise Unavailable(
                        "the manager that led has not answered, and another one leads"
                    )
        finally:
            answer.cancel()

    def _stream(self, path: str, here: Callable[..., AsyncIterator[Any]], response: Any) -> Any:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            channel = None
            if not self._is_leader():
                with suppress(_NowHere):
                    channel = await self._there(context)
            if channel is None:
                async with aclosing(here(request, context)) as answers:  # type: ignore[type-var]
                    async for message in _while(self._is_leader, answers):
                        yield message
                return

            def leads() -> bool:
                return not self._is_leader() and self._leader() in (None, channel)

            call = channel.unary_stream(
                path,
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )(request, metadata=((FORWARDED, "1"),))
            try:
                with swarm_errors():
                    async for message in _while(leads, aiter(call)):
                        yield message
            finally:
                call.cancel()

        return answer

    def _both_ways(
        self, path: str, here: Callable[..., AsyncIterator[Any]], request: Any, response: Any
    ) -> Any:
        async def answer(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            channel = None
            if not self._is_leader():
                with suppress(_NowHere):
                    channel = await self._there(context)
            if channel is None:
                async with aclosing(here(requests, context)) as answers:  # type: ignore[type-var]
                    async for message in answers:
                        yield message
                return
            call = channel.stream_stream(
                path,
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )(requests, metadata=((FORWARDED, "1"),))
            try:
                with swarm_errors():
                    async for message in call:
                        yield message
            finally:
                # The leader ends what it does for a caller who has gone.
                call.cancel()

        return answer


async def _while(leads: Callable[[], bool], answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The answers of a leader; raises NotLeader where it leads no more and is silent. Who follows
    logs, events or a watch asks the new one then, since this one may say nothing for ever."""
    loop = asyncio.get_running_loop()
    waits: asyncio.Task[Any] | None = asyncio.current_task()
    timer: asyncio.TimerHandle | None = None
    is_over = False

    def look() -> None:
        nonlocal timer, is_over
        if waits is not None and not leads():
            is_over = True
            waits.cancel()
        else:
            timer = loop.call_later(SILENCE_SECONDS, look)

    look()
    try:
        async for message in answers:
            waits = None
            yield message
            waits = asyncio.current_task()
    except asyncio.CancelledError:
        if not is_over or waits is None or waits.uncancel():
            raise
        raise NotLeader("another manager leads now") from None
    finally:
        if timer is not None:
            timer.cancel()


def _is_forwarded(context: Any) -> bool:
    return any(key == FORWARDED for key, _ in context.invocation_metadata() or ())


def _pauses() -> Iterator[float]:
    pause = RETRY_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, RETRY_SECONDS_MAX)


async def _awaited(call: Any) -> Any:
    with swarm_errors():
        return await call


def _may_repeat(request: Any) -> bool:
    """Whether the call changes nothing more where it took effect before. An update that names no
    version would, if another one came between."""
    return bool(getattr(request, "version", 1))


def _may_be_ours(error: AlreadyExists | SequenceConflict) -> SwarmError:
    """What to say of a refusal where an earlier leader was lost: the call may have taken effect."""
    if isinstance(error, AlreadyExists):
        return AlreadyExists(
            f"{error.message} (the leader was lost during this call, so it may be yours)"
        )
    return DeadlineExceeded(
        "the leader was lost during this call: whether the change took effect is not known, "
        "so read it again"
    )


class _NowHere(Exception):
    """This manager became the leader while the call looked for one."""
