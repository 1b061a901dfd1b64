"""The connection to containerd: its calls as attributes, its errors as ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from agent.runtime import schema
from pyswarm.errors import AlreadyExists, SwarmError, Unavailable, from_code

CALL_TIMEOUT_SECONDS: Final = 120.0
"""A call that touches a disk or a shim can be slow on a loaded machine; it never takes this long
and ends well. Calls that last by their nature (Wait, Apply) are given None or their own."""

_MESSAGE_BYTES_MAX: Final = 16 << 20  # containerd's own limit
# A restart of containerd is noticed within half a second instead of grpc's two minutes at worst.
# The minimum is in truth the time that one attempt may take: a loaded machine needs it.
_CHANNEL_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
)
_LASTING: Final = frozenset(["/containerd.services.tasks.v1.Tasks/Wait"])


class Service:
    """The methods of one service, under containerd's names.

    `await service.Create(**fields, lease="", timeout_seconds=...)` answers the response message.
    A method that streams answers is iterated: `async for event in events.Subscribe(filters=...)`.
    The fields are those of the request in agent.runtime.schema. Raises SwarmError.
    """

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"agent.runtime.schema has no method {name} in this service")


class Containerd:
    """One containerd and one of its namespaces. Make it inside the running event loop."""

    def __init__(self, socket: Path, namespace: str = "pyswarm") -> None:
        self.socket = socket
        self.namespace = namespace
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=_CHANNEL_OPTIONS)
        self.tasks, self.containers, self.content = Service(), Service(), Service()
        self.diff, self.events, self.images = Service(), Service(), Service()
        self.leases, self.namespaces, self.snapshots = Service(), Service(), Service()
        self.introspection = Service()
        self._version = Service()
        for method in schema.methods():
            service = self._version if method.service == "version" else None
            service = service or getattr(self, method.service)
            setattr(service, method.name, self._bind(method))

    async def version(self) -> str:
        """containerd's version, for example "1.6.20~ds1"; raises Unavailable."""
        return str((await self._version.Version()).version)

    async def ensure_namespace(self) -> None:
        """Have our namespace; needed once before anything is created in it."""
        try:
            await self.namespaces.Create(namespace=schema.namespaces.Namespace(name=self.namespace))
        except AlreadyExists:
            return

    async def close(self) -> None:
        """End every call and the connection."""
        await self._channel.close(None)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Around raw calls: what grpc raises leaves as a SwarmError."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._mapped(error) from None

    def _mapped(self, error: grpc.aio.AioRpcError) -> SwarmError:
        code, details = error.code().name, error.details() or "no details"
        if code in ("UNAVAILABLE", "CANCELLED"):
            # containerd ends its own text with the class of its error, grpc never does.
            if details.endswith(": unavailable"):
                return Unavailable(f"containerd at {self.socket} cannot do this now: {details}")
            return Unavailable(
                f"containerd does not answer at {self.socket}: start it"
                " (systemctl start containerd)"
            )
        if code == "DEADLINE_EXCEEDED":
            return from_code(code, f"containerd at {self.socket} did not answer in time")
        return from_code(code, f"containerd: {details}")

    def _metadata(self, lease: str) -> tuple[tuple[str, str], ...]:
        ours = ("containerd-namespace", self.namespace)
        return (ours, ("containerd-lease", lease)) if lease else (ours,)

    def _bind(self, method: schema.Method) -> Any:
        codec: Any = {
            "request_serializer": method.request.SerializeToString,
            "response_deserializer": method.response.FromString,
        }
        if method.arrow == "<>":
            both = self._channel.stream_stream(method.path, **codec)

            def exchange(requests: AsyncIterator[Any], *, lease: str = "") -> Any:
                return both(requests, metadata=self._metadata(lease))

            return exchange
        if method.arrow == ">>":
            many = self._channel.unary_stream(method.path, **codec)

            async def answers(**fields: Any) -> AsyncIterator[Any]:
                with self.errors():
                    call = many(method.request(**fields), metadata=self._metadata(""))
                    try:
                        async for answer in call:
                            yield answer
                    finally:
                        call.cancel()

            return answers
        one = self._channel.unary_unary(method.path, **codec)
        usual = None if method.path in _LASTING else CALL_TIMEOUT_SECONDS

        async def answer(
            *, lease: str = "", timeout_seconds: float | None = usual, **fields: Any
        ) -> Any:
            request = method.request(**fields)
            with self.errors():
                return await one(request, metadata=self._metadata(lease), timeout=timeout_seconds)

        return answer
