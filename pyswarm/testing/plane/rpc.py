"""gRPC without sockets: real stubs, servicers and what is around them; messages by reference."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from pyswarm.model.identity import Identity
from pyswarm.rpc.handlers import Around, Within
from pyswarm.testing.plane.loop import Handle, ProcessLoop, State
from pyswarm.testing.plane.network import KEEPALIVE_SECONDS, Network, Process, host_of

SERVER_KEEPALIVE_SECONDS = 15.0
CONNECT_SECONDS = 5.0
_END = object()


class Details(NamedTuple):
    """`grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Any = ()


def failure(code: grpc.StatusCode, details: str, trailing: Any = ()) -> grpc.aio.AioRpcError:
    """What a client of grpcio gets."""
    metadata = grpc.aio.Metadata
    return grpc.aio.AioRpcError(code, metadata(), metadata(*trailing), details, None)


class Server:
    """`grpc.aio.Server`: services are added, then it starts. One on each port of a process."""

    def __init__(self, arounds: list[Around]) -> None:
        self._arounds = arounds
        self._handlers: list[Any] = []
        self.serving = False
        self.calls: dict[Call, None] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Serve these."""
        self._handlers += [Within(self._arounds, handler) for handler in handlers]

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """The same again, for the C core."""

    async def start(self) -> None:
        """Take calls."""
        self.serving = True

    async def stop(self, grace: float | None) -> None:
        """Break all calls."""
        del grace
        self.serving = False
        for call in list(self.calls):
            call.break_server("the server stops")

    def handler(self, method: str) -> Any:
        """The handler within what is around it; None where nobody serves the method."""
        details: Any = Details(method)
        return next((h for g in self._handlers if (h := g.service(details))), None)


class Aborted(grpc.aio.AbortError):
    """The handler refused."""


class Context:
    """`grpc.aio.ServicerContext` of one call."""

    def __init__(self, call: Call, metadata: Any) -> None:
        self._call = call
        self._metadata = metadata
        self.refusal: grpc.aio.AioRpcError | None = None

    @property
    def identity(self) -> Identity:
        """Who calls; a test's `peer_identity` reads it here."""
        return self._call.identity

    def auth_context(self) -> Any:
        """The context itself, for the patched `peer_identity`."""
        return self

    def invocation_metadata(self) -> Any:
        """The client's metadata."""
        return self._metadata

    def peer(self) -> str:
        """An address."""
        return f"ipv4:{self._call.client.name}:1"

    async def abort(self, code: Any, details: str = "", trailing: Any = ()) -> None:
        """End the call with an error."""
        self.refusal = failure(code, details, trailing)
        raise Aborted(details)

    async def write(self, message: Any) -> None:
        """One message of a stream of answers."""
        self._call.to_client(self._call.take, message)


class Channel:
    """`grpc.aio.Channel` to "host:port"; every call makes its own connection."""

    def __init__(self, network: Network, client: Process, identity: Identity, address: str) -> None:
        self._parts = (network, client, identity, address)

    def unary_unary(self, method: str, **_: Any) -> Callable[..., Call]:
        """One message, one answer."""
        return self._maker(method, False, False)

    def unary_stream(self, method: str, **_: Any) -> Callable[..., Call]:
        """One message, a stream of answers."""
        return self._maker(method, False, True)

    def stream_unary(self, method: str, **_: Any) -> Callable[..., Call]:
        """A stream of messages, one answer."""
        return self._maker(method, True, False)

    stream_stream = stream_unary

    def _maker(self, method: str, streams: bool, answers: bool) -> Callable[..., Call]:
        def make(request: Any, timeout: float | None = None, metadata: Any = ()) -> Call:
            return Call(*self._parts, method, request, streams, answers, timeout, metadata)

        return make

    async def channel_ready(self) -> None:
        """Until somebody serves there."""
        network, client, _, address = self._parts
        host = host_of(address)
        # Nobody tells when a server begins to answer.
        while not (  # noqa: ASYNC110
            network.passes(client.name, host) and _server(network, address)
        ):
            await asyncio.sleep(0.1)

    async def close(self, grace: float | None = None) -> None:
        """Nothing is kept open."""


def _server(network: Network, address: str) -> Server | None:
    host, _, port = address.partition(":")
    process: Any = network.processes.get(host)
    server: Server | None = process.servers.get(port) if process is not None else None
    return server if server is not None and server.serving else None


class Pipe:
    """One direction of a call: in order, and waiting while the way is blocked."""

    def __init__(self, network: Network, source: str, target: str, loop: ProcessLoop) -> None:
        self.network = network
        self.ends = (source, target)
        self.loop = loop
        self.waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._last = 0.0

    def send(self, callback: Callable[..., Any], *args: Any) -> None:
        """Have `callback` run at the other end."""
        if self.waiting or self.ends in self.network.blocked:
            self.waiting.append((callback, args))
            return
        timeline = self.network.timeline
        self._last = max(self._last, timeline.now + self.network.delay())
        timeline.at(self._last, callback, *args, loop=self.loop)

    def flush(self) -> None:
        """The way may be free again."""
        if self.waiting and self.ends not in self.network.blocked:
            waiting, self.waiting = self.waiting, deque()
            for callback, args in waiting:
                self.send(callback, *args)


class Call:
    """A call from its first byte to its last, both ends of it."""

    def __init__(
        self,
        network: Network,
        client: Process,
        identity: Identity,
        address: str,
        method: str,
        request: Any,
        streams: bool,
        answers: bool,
        timeout: float | None,
        metadata: Any,
    ) -> None:
        self.client, self.identity = client, identity
        self._network = network
        self._client_loop = client.loop
        self._address, self._method, self._metadata = address, method, metadata
        self._streams, self._answers = streams, answers
        self._result: asyncio.Future[Any] = client.loop.create_future()
        self._result.add_done_callback(self._client_done)
        self._inbox: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._pump: asyncio.Task[Any] | None = None
        self._server: Server | None = None
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._over = False
        self._server_over = False
        self._timers: list[Handle] = []
        self._pipes: tuple[Pipe, Pipe] | None = None
        if timeout is not None:
            late = failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            self._timers.append(client.loop.call_later(timeout, self._fail, late))
        self._connect(request)

    # ---- the beginning ----

    def _connect(self, request: Any) -> None:
        network, host = self._network, host_of(self._address)
        server = _server(network, self._address)
        to, back = (self.client.name, host), (host, self.client.name)
        if to in network.blocked or back in network.blocked or host in network.dark:
            self._later(CONNECT_SECONDS, self._unavailable, "failed to connect: timed out")
            return
        if server is None:
            self._later(2 * network.delay(), self._unavailable, "failed to connect: refused")
            return
        loop = network.processes[host].loop
        self._server = server
        self._pipes = (
            Pipe(network, *to, loop),
            Pipe(network, *back, self._client_loop),
        )
        network.on_heal.append(self._flush)
        self._pipes[0].send(self._accept, request)
        if self._streams:
            self._pump = self._client_loop.start(self._send_requests(request), "requests")
        self._watch_connection(loop)

    def _later(self, seconds: float, callback: Callable[..., Any], *args: Any) -> None:
        handle = self._client_loop.call_later(seconds, callback, *args)
        self._timers.append(handle)

    def _watch_connection(self, loop: ProcessLoop) -> None:
        """Keepalive, at both ends, and the end of either process."""
        network, timeline = self._network, self._network.timeline
        silent = 0.0

        def look() -> None:
            nonlocal silent
            to, back = self._pipes[0].ends, self._pipes[1].ends  # type: ignore[index]
            cut = to in network.blocked or back in network.blocked
            dead = loop.state is State.DEAD, self._client_loop.state is State.DEAD
            if (self._over or dead[1]) and (self._server_over or dead[0]):
                self._over = self._server_over = True
                self._forget()
                return
            silent = silent + 1.0 if cut or any(dead) else 0.0
            refuses = not cut and to[1] not in network.dark
            if not self._over and dead[0] and (refuses or silent >= KEEPALIVE_SECONDS):
                self._reach_client(self._unavailable, "Connection reset by peer")
            elif not self._over and cut and silent >= KEEPALIVE_SECONDS:
                self._reach_client(self._unavailable, "ping timeout")
            closed = not cut and to[0] not in network.dark
            gone = (dead[1] or self._over) and (closed or silent >= SERVER_KEEPALIVE_SECONDS)
            if not self._server_over and (gone or silent >= SERVER_KEEPALIVE_SECONDS):
                timeline.at(timeline.now, self.break_server, "the client is gone", loop=loop)
            timeline.after(1.0, look)

        timeline.after(0.5 + network.chance.random(), look)

    def _reach_client(self, callback: Callable[..., Any], *args: Any) -> None:
        timeline = self._network.timeline
        timeline.at(timeline.now, callback, *args, loop=self._client_loop)

    def _flush(self) -> None:
        assert self._pipes is not None
        for pipe in self._pipes:
            pipe.flush()

    # ---- the client's end ----

    def __await__(self) -> Any:
        """The one answer."""
        return self._result.__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The stream of answers."""
        while True:
            while not self._inbox:
                self._arrived.clear()
                await self._arrived.wait()
            message = self._inbox.popleft()
            if message is _END:
                await self._result
                return
            yield message

    def done(self) -> bool:
        """Whether the call is over."""
        return self._result.done()

    def cancel(self) -> bool:
        """The client does not want it any more."""
        return self._result.cancel()

    def take(self, message: Any) -> None:
        """A message of the stream of answers arrived."""
        if not self._over:
            self._inbox.append(message)
            self._arrived.set()

    def _answer(self, message: Any) -> None:
        if not self._result.done():
            self._result.set_result(message)

    def _fail(self, error: grpc.aio.AioRpcError) -> None:
        if not self._result.done():
            self._result.set_exception(error)
            self._result.exception()

    def _unavailable(self, details: str) -> None:
        self._fail(failure(grpc.StatusCode.UNAVAILABLE, details))

    def _client_done(self, _: Any) -> None:
        self._over = True
        for timer in self._timers:
            timer.cancel()
        self._inbox.append(_END)
        self._arrived.set()
        if self._pump is not None:
            self._pump.cancel()
        if self._pipes is None:
            self._server_over = True
            return
        if not self._server_over:
            self._pipes[0].send(self.break_server, "the client cancelled")
        self._forget()

    async def _send_requests(self, requests: AsyncIterator[Any]) -> None:
        assert self._pipes is not None
        async for message in requests:
            self._pipes[0].send(self._requests.put_nowait, message)
        self._pipes[0].send(self._requests.put_nowait, _END)

    # ---- the server's end ----

    def _accept(self, request: Any) -> None:
        server = self._server
        if server is None or not server.serving:
            self.to_client(self._unavailable, "the server stops")
            return
        if self._server_over:
            return
        server.calls[self] = None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        self._task = loop.start(self._serve(request), self._method)

    async def _serve(self, request: Any) -> None:
        assert self._server is not None
        context = Context(self, self._metadata)
        try:
            handler = self._server.handler(self._method)
            if handler is None:
                raise LookupError(f"nobody serves {self._method}")
            if self._streams:
                answer = await handler.stream_unary(self._take_requests(), context)
            elif self._answers:
                answer = await handler.unary_stream(request, context)
            else:
                answer = await handler.unary_unary(request, context)
            self.to_client(self._answer, answer)
        except Aborted:
            self.to_client(self._fail, context.refusal)
        except asyncio.CancelledError:
            self.to_client(self._unavailable, "the server cancelled the call")
            raise
        finally:
            self._server_over = True
            self._server.calls.pop(self, None)
            self._forget()

    async def _take_requests(self) -> AsyncIterator[Any]:
        while (message := await self._requests.get()) is not _END:
            yield message

    def to_client(self, callback: Callable[..., Any], *args: Any) -> None:
        """Have something happen at the client's end."""
        assert self._pipes is not None
        self._pipes[1].send(callback, *args)

    def break_server(self, reason: str) -> None:
        """The connection is gone, as the server sees it."""
        del reason
        if not self._server_over:
            self._server_over = True
            if self._task is not None:
                self._task.cancel()
            self._forget()

    def _forget(self) -> None:
        if self._over and self._server_over and self._flush in self._network.on_heal:
            self._network.on_heal.remove(self._flush)
