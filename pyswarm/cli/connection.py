"""The command line's connection to a daemon's socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc.aio

from pyswarm.api.v1 import (
    control_pb2_grpc,
    local_pb2_grpc,
    observe_pb2_grpc,
    placement_pb2_grpc,
    recovery_pb2_grpc,
    registry_pb2_grpc,
    system_pb2_grpc,
    updates_pb2_grpc,
    volumes_pb2_grpc,
)
from pyswarm.errors import InvalidArgument, NotFound, Unavailable
from pyswarm.rpc import from_rpc, local_channel

Answer = TypeVar("Answer")

HOST_VARIABLE = "PYSWARM_HOST"
DEFAULT_HOST = "unix:///run/pyswarm/pyswarm.sock"
REOPEN_TRIES: Final = 60
REOPEN_SECONDS: Final = 0.5


def socket_path(host: str | None) -> Path:
    """The socket named by `-H`, by PYSWARM_HOST, or the default one."""
    address = host or os.environ.get(HOST_VARIABLE) or DEFAULT_HOST
    if address.startswith("unix://"):
        return Path(address.removeprefix("unix://"))
    if address.startswith("/"):
        return Path(address)
    raise InvalidArgument(
        f"cannot use '{address}' as a host: it must be unix:///path/to/pyswarm.sock"
    )


class Connection:
    """Calls to one daemon; a context manager. Failures come out as `SwarmError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._channel = local_channel(str(path))
        # The generated stubs of the asyncio kind differ in their types only.
        self.control: Any = control_pb2_grpc.ControlStub(self._channel)
        self.observe: Any = observe_pb2_grpc.ObserveStub(self._channel)
        self.updates: Any = updates_pb2_grpc.UpdatesStub(self._channel)
        self.scheduling: Any = placement_pb2_grpc.SchedulingStub(self._channel)
        self.local: Any = local_pb2_grpc.LocalStub(self._channel)
        self.volumes: Any = volumes_pb2_grpc.VolumesStub(self._channel)
        self.rotation: Any = volumes_pb2_grpc.RotationStub(self._channel)
        self.recovery: Any = recovery_pb2_grpc.RecoveryStub(self._channel)
        self.registries: Any = registry_pb2_grpc.RegistriesStub(self._channel)
        self.system: Any = system_pb2_grpc.SystemStub(self._channel)

    async def call(self, answer: Awaitable[Answer]) -> Answer:
        """The answer of one call."""
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            raise self._explain(error) from None

    async def find(self, what: str, ref: str, answer: Awaitable[Answer]) -> Answer:
        """The answer of a call about the object that `ref` means; NotFound in Docker's words."""
        try:
            return await self.call(answer)
        except NotFound as error:
            raise NotFound(f"no such {what}: {ref}") from error

    async def stream(self, answers: Any) -> AsyncIterator[Any]:
        """The messages of a stream."""
        try:
            async for message in answers:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._explain(error) from None

    async def follow(self, ask: Callable[[], Any]) -> AsyncIterator[Any]:
        """The messages of the stream that `ask` opens, opened again where it is cut off: when the
        leader changes, or the daemon does. Raises Unavailable where that lasts."""
        failures = 0
        while True:
            try:
                async for message in self.stream(ask()):
                    failures = 0
                    yield message
                return
            except Unavailable:
                failures += 1
                if failures > REOPEN_TRIES:
                    raise
            await asyncio.sleep(REOPEN_SECONDS)

    def _explain(self, error: grpc.aio.AioRpcError) -> Exception:
        refused = "failed to connect" in (error.details() or "").lower()
        if error.code() == grpc.StatusCode.UNAVAILABLE and (refused or not self.path.exists()):
            return Unavailable(
                f"Cannot connect to the pyswarm daemon at unix://{self.path}. "
                "Is the pyswarm daemon running?"
            )
        return from_rpc(error)

    async def __aenter__(self) -> Self:
        if not os.access(self.path, os.W_OK) and self.path.exists():
            raise Unavailable(
                f"permission denied at unix://{self.path}: only root may use this socket"
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close(None)
