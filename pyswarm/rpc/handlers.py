"""Something around each call, whatever its kind: what the server interceptors are made of."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
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
Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""(request or requests, context) -> the answer; a stream of answers is written to the context."""


class Around(grpc.aio.ServerInterceptor, ABC):  # type: ignore[type-arg]  # not generic at run time
    """An interceptor in whose `run` each call happens.

    A handler is wrapped at its first call, and then again only where the one below has changed.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    @abstractmethod
    async def run(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        """The answer of `behaviour(request, context)`, which is what serves `method`
        ("/package.Service/Method")."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None:  # a method that nobody serves
            return handler
        method = handler_call_details.method
        inner, wrapped = self._wrapped.get(method, (None, None))
        if inner is not handler or wrapped is None:
            wrapped = _around(handler, partial(self.run, method))
            self._wrapped[method] = handler, wrapped
        return wrapped


def _around(handler: Handler, run: Callable[[Behaviour, Any, Context], Awaitable[Any]]) -> Handler:
    """`handler` by way of `run(behaviour, request, context)`.

    A stream of answers is written here and not yielded on, for one reason: when the peer goes
    away, the generator of the service is closed at once and in its own task, so its `finally`
    runs then, and not when the garbage collector comes by.
    """
    answers = handler.response_streaming
    behaviour: Any = (
        (handler.stream_stream if answers else handler.stream_unary)
        if handler.request_streaming
        else (handler.unary_stream if answers else handler.unary_unary)
    )

    async def written(request: Any, context: Context) -> None:
        answers = behaviour(request, context)
        if inspect.isawaitable(answers):
            await answers
            return
        async with aclosing(answers):
            async for answer in answers:
                await context.write(answer)

    inner = written if answers else behaviour

    async def around(request: Any, context: Context) -> Any:
        return await run(inner, request, context)

    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, answers]
    wrapped: Handler = make(around, handler.request_deserializer, handler.response_serializer)
    return wrapped
