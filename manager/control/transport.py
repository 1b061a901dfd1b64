"""Calls go to the leader: served here when this manager leads, passed on when another does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from pyswarm.errors import AlreadyExists, NotLeader, SwarmError, Unavailable
from pyswarm.rpc import swarm_errors

FORWARDED = "pyswarm-forwarded"
LEADER_WAIT_SECONDS = 15.0
"""How long a call waits for an election to end before it fails."""
ELECTION_SECONDS = 4.0
"""How long it waits where this manager knows why it cannot lead itself: others would by then."""
RETRY_SECONDS = 0.1

Context = grpc.aio.ServicerContext


class LeaderFirst(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """The handlers of one service, unary or server-streaming, that need the leader.

    `servicer` answers here while `is_leader()`; else `leader()` gives a channel to the leader, or
    None where none is known; then `trouble()` may say why it is not this one. A call that came
    from another manager is not passed on again: its sender is told who leads, and tries there.
    """

    def __init__(
        self,
        service: ServiceDescriptor,
        servicer: Any,
        is_leader: Callable[[], bool],
        leader: Callable[[], grpc.aio.Channel | None],
        trouble: Callable[[], SwarmError | None] = lambda: None,
    ) -> None:
        self._servicer = servicer
        self._is_leader = is_leader
        self._leader = leader
        self._trouble = trouble
        self._handlers = {
            f"/{service.full_name}/{method.name}": self._handler(service, method)
            for method in service.methods
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method, or None where it is not of this service."""
        return self._handlers.get(handler_call_details.method)

    def _handler(
        self, service: ServiceDescriptor, method: MethodDescriptor
    ) -> grpc.RpcMethodHandler[Any, Any]:
        path = f"/{service.full_name}/{method.name}"
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        here = getattr(self._servicer, method.name)
        kind = grpc.unary_stream_rpc_method_handler
        answer: Callable[..., Any] = self._stream(path, here, response)
        if not method.server_streaming:
            kind = grpc.unary_unary_rpc_method_handler
            answer = self._unary(path, here, response)
        return kind(
            answer,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )

    async def _there(self, context: Any) -> grpc.aio.Channel:
        """A channel to the leader; waits through an election, up to a bound."""
        forwarded = any(key == FORWARDED for key, _ in context.invocation_metadata() or ())
        begun = time.monotonic()
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
            await asyncio.sleep(RETRY_SECONDS)

    def _unary(self, path: str, here: Callable[..., Awaitable[Any]], response: Any) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            deadline = time.monotonic() + LEADER_WAIT_SECONDS
            lost: Unavailable | None = None
            while True:
                try:
                    if self._is_leader():
                        return await _again(here(request, context), lost)
                    channel = await self._there(context)
                    call = channel.unary_unary(
                        path,
                        request_serializer=type(request).SerializeToString,
                        response_deserializer=response.FromString,
                    )
                    return await _again(_asked(call(request, metadata=((FORWARDED, "1"),))), lost)
                except _NowHere:
                    continue
                except Unavailable as error:
                    # It no longer leads, hands over, or is gone. The call is made again: a new
                    # leader serves only once everything that the old one committed is applied,
                    # updates name the version that they change, and names are unique.
                    if time.monotonic() > deadline:
                        raise
                    if not isinstance(error, NotLeader):
                        lost = error
                await asyncio.sleep(RETRY_SECONDS)

        return answer

    def _stream(self, path: str, here: Callable[..., AsyncIterator[Any]], response: Any) -> Any:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            if not self._is_leader():
                try:
                    channel = await self._there(context)
                except _NowHere:
                    channel = None
                if channel is not None:
                    call = channel.unary_stream(
                        path,
                        request_serializer=type(request).SerializeToString,
                        response_deserializer=response.FromString,
                    )
                    with swarm_errors():
                        async for message in call(request, metadata=((FORWARDED, "1"),)):
                            yield message
                    return
            async for message in here(request, context):
                yield message

        return answer


async def _asked(call: Awaitable[Any]) -> Any:
    with swarm_errors():
        return await call


async def _again(call: Awaitable[Any], lost: Unavailable | None) -> Any:
    """The answer; an object that is there already may be this caller's own, where an earlier
    leader was lost before it could say so."""
    try:
        return await call
    except AlreadyExists as error:
        if lost is None:
            raise
        raise AlreadyExists(
            f"{error.message} (the leader was lost during this call, so it may be yours)"
        ) from error


class _NowHere(Exception):
    """This manager became the leader while the call looked for one."""
