"""A scope around each call, whatever its kind: what the server interceptors are made of."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
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


class Scoped(grpc.aio.ServerInterceptor, ABC):  # type: ignore[type-arg]  # not generic at run time
    """An interceptor that runs each call inside `scope(method, context)`.

    A handler is wrapped at its first call, and then again only where the one below has changed.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    @abstractmethod
    def scope(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """Entered before the handler of `method` ("/package.Service/Method"), left after it."""

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
            wrapped = _around(handler, lambda context: self.scope(method, context))
            self._wrapped[method] = handler, wrapped
        return wrapped


def _around(handler: Handler, scope: Scope) -> Handler:
    """`handler` run inside `scope(context)`.

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
