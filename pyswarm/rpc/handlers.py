"""Something around each call, whatever its kind: who may make it, and what becomes of its errors.

grpcio's own interceptors are asked anew at each call, one coroutine after the other: a sixth of all
that its server does for a small one. Here a handler is wrapped once.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    # Generic in the stubs only.
    Handler = grpc.RpcMethodHandler[Any, Any]
    GenericHandler = grpc.GenericRpcHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    GenericHandler = grpc.GenericRpcHandler
    Context = grpc.aio.ServicerContext
Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""(request or requests, context) -> the answer; a stream of answers is written to the context."""


class Around(ABC):
    """Something in whose `run` each call happens."""

    @abstractmethod
    async def run(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        """The answer of `behaviour(request, context)`, which is what serves `method`
        ("/package.Service/Method")."""


class Within(GenericHandler):
    """The methods of another handler, each call within all of `arounds`, the first outermost.

    A method is wrapped at its first call, and then again only where its own handler is another one.
    """

    def __init__(self, arounds: Sequence[Around], handler: GenericHandler) -> None:
        self._arounds = arounds
        self._handler = handler
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of one call; None for a method that is not served here."""
        handler = self._handler.service(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        inner, wrapped = self._wrapped.get(method, (None, None))
        if inner is not handler or wrapped is None:
            wrapped = _wrap(handler, method, self._arounds)
            self._wrapped[method] = handler, wrapped
        return wrapped


def _wrap(handler: Handler, method: str, arounds: Sequence[Around]) -> Handler:
    """`handler` within `arounds`.

    A stream of answers is written here and not yielded on, for one reason: when the peer goes
    away, the generator of the service is closed at once and in its own task, so its `finally`
    runs then, and not when the garbage collector comes by.
    """
    answers = handler.response_streaming
    served: Any = (
        (handler.stream_stream if answers else handler.stream_unary)
        if handler.request_streaming
        else (handler.unary_stream if answers else handler.unary_unary)
    )

    async def written(request: Any, context: Context) -> None:
        answers = served(request, context)
        if inspect.isawaitable(answers):
            await answers
            return
        async with aclosing(answers):
            async for answer in answers:
                await context.write(answer)

    behaviour: Behaviour = written if answers else served
    for around in reversed(arounds):
        behaviour = partial(around.run, method, behaviour)

    # grpcio runs a coroutine function where it is, and anything else in a thread.
    async def call(request: Any, context: Context) -> Any:
        return await behaviour(request, context)

    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, answers]
    wrapped: Handler = make(call, handler.request_deserializer, handler.response_serializer)
    return wrapped


class Server(grpc.aio.Server):
    """grpcio's server, all of whose calls happen within `arounds`."""

    def __init__(self, arounds: Sequence[Around], **options: Any) -> None:
        self._arounds = arounds
        self._server = grpc.aio.server(**options)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[GenericHandler]) -> None:
        """Serve these too."""
        within = tuple(Within(self._arounds, handler) for handler in generic_rpc_handlers)
        self._server.add_generic_rpc_handlers(within)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """The same methods again, for a core that would serve them first: outside of all that is
        around a call. So they go nowhere."""

    def add_insecure_port(self, address: str) -> int:
        """Listen without TLS; the port. RuntimeError."""
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Listen; the port. RuntimeError."""
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self, grace: float | None = None) -> None:
        """Take no more calls, and break those that last longer than `grace` seconds."""
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Until it has stopped; whether `timeout` came first."""
        return await self._server.wait_for_termination(timeout)
