"""A dispatcher that says what a test tells it to, on a real gRPC server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from pyswarm.api.v1 import dispatcher_pb2 as pb
from pyswarm.api.v1 import dispatcher_pb2_grpc
from pyswarm.errors import NotLeader
from pyswarm.model import Node
from pyswarm.rpc import ErrorMapper, Server
from pyswarm.wire import to_message


class ScriptedDispatcher(dispatcher_pb2_grpc.DispatcherServicer):
    """One manager. `leader`: the address that it names, None where it leads itself."""

    def __init__(self, managers: Callable[[], list[str]] = list) -> None:
        self.leader: str | None = None
        self.address = ""
        self.sessions: list[pb.SessionRequest] = []
        self.beats: list[pb.Beat] = []
        self.reports: list[pb.StatusReport] = []
        self.volume_reports: list[pb.VolumeReport] = []
        self.published: list[pb.PublishedLogs] = []
        self.period_seconds = 0.1
        self._managers = managers
        self._outbox: asyncio.Queue[pb.SessionMessage] = asyncio.Queue()
        self._server: Server | None = None

    async def start(self, port: int = 0) -> str:
        """Serve; answers the address."""
        self._server = Server([ErrorMapper()])
        dispatcher_pb2_grpc.add_DispatcherServicer_to_server(self, self._server)
        bound = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        self.address = f"127.0.0.1:{bound}"
        return self.address

    async def stop(self) -> None:
        """Die: every call breaks."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def send(self, **message: Any) -> None:
        """Say something in the session: `assignments=`, `endpoints=` or `logs=`."""
        self._outbox.put_nowait(pb.SessionMessage(**message))

    def hello(self) -> pb.SessionMessage:
        """The first message of a session."""
        hello = pb.SessionHello(
            session_id=f"session-{self.address}-{len(self.sessions)}",
            heartbeat_period_seconds=self.period_seconds,
            manager_addresses=self._managers() or [self.address],
            node=to_message(Node(id="node", index=1)),
        )
        return pb.SessionMessage(hello=hello)

    async def Session(
        self, request: pb.SessionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.SessionMessage]:
        """Hello, and then whatever the test sends."""
        if self.leader is not None:
            raise NotLeader(leader=self.leader)
        self.sessions.append(request)
        yield self.hello()
        while True:
            yield await self._outbox.get()

    async def Heartbeat(
        self,
        request_iterator: AsyncIterator[pb.Beat],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.BeatSummary:
        """Remember the beats; a goodbye ends them."""
        async for beat in request_iterator:
            self.beats.append(beat)
            if beat.goodbye:
                break
        return pb.BeatSummary(beats=len(self.beats))

    async def ReportStatus(
        self, request: pb.StatusReport, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.StatusReply:
        """Remember the report."""
        self.reports.append(request)
        return pb.StatusReply()

    async def ReportVolumes(
        self, request: pb.VolumeReport, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.StatusReply:
        """Remember the report."""
        self.volume_reports.append(request)
        return pb.StatusReply()

    async def PublishLogs(
        self,
        request_iterator: AsyncIterator[pb.PublishedLogs],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.StatusReply:
        """Remember the logs."""
        async for message in request_iterator:
            self.published.append(message)
        return pb.StatusReply()
