"""A scope around a call, whatever its kind: what the server interceptors are made of."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    # Generic in the stubs only.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
Scope = Callable[[Context], AbstractAsyncContextManager[None]]


def around(handler: Handler | None, scope: Scope) -> Handler:
    """`handler` run inside `scope(context)`; None, a method that nobody serves, stays None.

    A stream of answers is written here and not yielded on, for one reason: when the peer goes
    away, the generator of the service is closed at once and in its own task, so its `finally`
    runs then, and not when the garbage collector comes by.
    """
    if handler is None:
        return handler  # type: ignore[return-value]
    answers = handler.response_streaming
    behaviour: Any = (
        (handler.stream_stream if answers else handler.stream_unary)
        if handler.request_streaming
        else (handler.unary_stream if answers else handler.unary_unary)
    )

    async def one(request: Any, context: Context) -> Any:
        async with scope(context):
            return await behaviour(request, context)

    async def many(request: Any, context: Context) -> None:
        async with scope(context):
            answers = behaviour(request, context)
            if inspect.isawaitable(answers):
                await answers
                return
            async with aclosing(answers):
                async for answer in answers:
                    await context.write(answer)

    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, answers]
    wrapped: Handler = make(
        many if answers else one, handler.request_deserializer, handler.response_serializer
    )
    return wrapped
