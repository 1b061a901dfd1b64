"""The dispatcher's RPCs as an agent calls them: protobuf objects stop here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass

import grpc.aio

from agent.assignments import AssignmentNews
from agent.conversations.client import Exchange
from agent.networks import NetworkNews
from agent.reporter import Send
from agent.volumes.report import VolumeReport
from pyswarm.api.v1 import control_pb2, dispatcher_pb2, dispatcher_pb2_grpc
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    Config,
    EndpointDelta,
    EndpointSet,
    ImagePolicy,
    Node,
    NodeDescription,
    RegistryCredential,
    Secret,
    Task,
    Volume,
)
from pyswarm.rpc import swarm_errors
from pyswarm.wire import from_message, to_message

REPORT_SECONDS = 10.0
"""A report is answered when it is committed; managers without a quorum do not answer."""
BEATS_WAITING_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message of a session, and again when one of its parts changes."""

    session_id: str
    heartbeat_period_seconds: float
    manager_addresses: tuple[str, ...]
    node: Node
    cluster_id: str
    root_certificate: bytes
    """All roots that count; the last one signs."""
    renewal_spread_seconds: float
    images: ImagePolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsAsked:
    """A request for logs of some tasks; `close` ends all requests of this id."""

    id: str
    tasks: tuple[str, ...] = ()
    follow: bool = False
    tail: int = -1
    since: float = 0.0
    until: float = 0.0
    close: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a task's output, without its line break; `timestamp` since the epoch."""

    task_id: str
    service_id: str
    timestamp: float
    stderr: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """Some lines, or a sentence about what is not there; `caught_up` where what follows is new. An
    empty piece says that the work goes on."""

    lines: tuple[LogLine, ...] = ()
    problem: str = ""
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class ConversationAsked:
    """The manager wants to talk: a conversation of this id is to be opened."""

    id: str


Message = (
    Hello | AssignmentNews | NetworkNews | LogsAsked | ConversationAsked | dispatcher_pb2.NodeAsk
)


def read_message(message: dispatcher_pb2.SessionMessage) -> Message:
    """The record of one message; raises InvalidArgument for a kind that is not known."""
    match message.WhichOneof("message"):
        case "hello":
            return _hello(message.hello)
        case "assignments":
            return _assignments(message.assignments)
        case "endpoints":
            update = message.endpoints
            return NetworkNews(
                complete=tuple(from_message(EndpointSet, m) for m in update.complete),
                deltas=tuple(from_message(EndpointDelta, m) for m in update.deltas),
                removed=tuple(update.removed),
            )
        case "logs":
            asked = message.logs
            return LogsAsked(
                id=asked.id,
                tasks=tuple(asked.tasks),
                follow=asked.follow,
                tail=asked.tail,
                since=asked.since,
                until=asked.until,
                close=asked.close,
            )
        case "conversation":
            return ConversationAsked(message.conversation.id)
        case "ask":
            return message.ask  # only the handler of its kind knows what is in it
    raise InvalidArgument("the manager sent a message that this version does not know")


def _hello(hello: dispatcher_pb2.SessionHello) -> Hello:
    return Hello(
        session_id=hello.session_id,
        heartbeat_period_seconds=hello.heartbeat_period_seconds,
        manager_addresses=tuple(hello.manager_addresses),
        node=from_message(Node, hello.node),
        cluster_id=hello.cluster_id,
        root_certificate=hello.root_certificate,
        renewal_spread_seconds=hello.renewal_spread_seconds,
        images=from_message(ImagePolicy, hello.images) if hello.HasField("images") else None,
    )


def _assignments(message: dispatcher_pb2.Assignments) -> AssignmentNews:
    return AssignmentNews(
        complete=message.kind == dispatcher_pb2.Assignments.COMPLETE,
        applies_to=message.applies_to,
        results_in=message.results_in,
        tasks=tuple(from_message(Task, m) for m in message.tasks),
        secrets=tuple(from_message(Secret, m) for m in message.secrets),
        configs=tuple(from_message(Config, m) for m in message.configs),
        removed_tasks=tuple(message.removed_tasks),
        removed_secrets=tuple(message.removed_secrets),
        removed_configs=tuple(message.removed_configs),
        volumes=tuple(from_message(Volume, m) for m in message.volumes),
        removed_volumes=tuple(message.removed_volumes),
        credentials=tuple(from_message(RegistryCredential, m) for m in message.credentials),
        removed_credentials=tuple(message.removed_credentials),
    )


class Beats:
    """The stream of beats of one session. `wait` ends when the stream does."""

    def __init__(self, stub: dispatcher_pb2_grpc.DispatcherAsyncStub, address: str) -> None:
        self._address = address
        self._queue: asyncio.Queue[dispatcher_pb2.Beat] = asyncio.Queue(BEATS_WAITING_MAX)
        self._call = stub.Heartbeat(self._requests())

    async def _requests(self) -> AsyncIterator[dispatcher_pb2.Beat]:
        while True:
            beat = await self._queue.get()
            yield beat
            if beat.goodbye or beat.restarting:
                return

    def send(self, session_id: str, goodbye: bool = False, restarting: bool = False) -> None:
        """Send a beat; one that would have to wait behind others says nothing new."""
        if (goodbye or restarting) and self._queue.full():
            self._queue.get_nowait()
        if not self._queue.full():
            beat = dispatcher_pb2.Beat(
                session_id=session_id, goodbye=goodbye, restarting=restarting
            )
            self._queue.put_nowait(beat)

    async def wait(self) -> None:
        """Until the manager has closed the stream; raises the SwarmError that it closed it with."""
        with swarm_errors(self._address):
            await self._call

    def cancel(self) -> None:
        """Drop the stream."""
        self._call.cancel()


class DispatcherClient:
    """One manager's dispatcher. Every call raises SwarmError."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._stub = dispatcher_pb2_grpc.DispatcherStub(channel)
        self._address = address
        self._channel = channel

    async def session(
        self, description: NodeDescription, underlay_address: str, clock: float
    ) -> AsyncGenerator[Message, None]:
        """Everything that this node must know, for as long as the manager leads. `clock` is what
        the node's says, in seconds since the epoch."""
        request = dispatcher_pb2.SessionRequest(address=underlay_address, clock=clock)
        request.description.CopyFrom(to_message(description))
        with swarm_errors(self._address):
            call = self._stub.Session(request)
            try:
                async for message in call:
                    yield read_message(message)
            finally:
                call.cancel()

    def beats(self) -> Beats:
        """Open the stream of beats."""
        return Beats(self._stub, self._address)

    async def report(self, session_id: str, send: Send) -> None:
        """Tell statuses and applied versions; an empty report only asks for an answer."""
        report = dispatcher_pb2.StatusReport(
            session_id=session_id,
            updates=[
                dispatcher_pb2.TaskStatusUpdate(
                    task_id=task_id,
                    status=to_message(status),
                )
                for task_id, status in send.updates
            ],
            applied=[
                dispatcher_pb2.AppliedVersion(network_id=network_id, version=version)
                for network_id, version in send.applied
            ],
        )
        with swarm_errors(self._address):
            await self._stub.ReportStatus(report, timeout=REPORT_SECONDS)

    def converse(self, conversation_id: str) -> Exchange:
        """Open a conversation that the manager wants."""
        return Exchange(self._channel, self._address, conversation_id)

    async def report_volumes(self, session_id: str, report: VolumeReport) -> None:
        """Tell which volumes are here."""
        message = dispatcher_pb2.VolumeReport(
            session_id=session_id,
            volumes=[
                dispatcher_pb2.NodeVolume(
                    spec=to_message(volume.spec),
                    created_at=volume.created_at,
                    tasks=volume.tasks,
                )
                for volume in report.volumes
            ],
            removed=[
                dispatcher_pb2.RemovedVolume(name=name, freed_bytes=freed)
                for name, freed in report.removed
            ],
        )
        with swarm_errors(self._address):
            await self._stub.ReportVolumes(message, timeout=REPORT_SECONDS)

    async def answer(self, answer: dispatcher_pb2.NodeAnswer) -> None:
        """Answer a question."""
        with swarm_errors(self._address):
            await self._stub.Answer(answer, timeout=REPORT_SECONDS)

    async def publish(self, subscription_id: str, pieces: AsyncIterator[LogPiece]) -> None:
        """Answer a request for logs; ends early where nobody listens any more."""

        async def messages() -> AsyncIterator[dispatcher_pb2.PublishedLogs]:
            async for piece in pieces:
                yield dispatcher_pb2.PublishedLogs(
                    subscription_id=subscription_id,
                    caught_up=piece.caught_up,
                    chunk=control_pb2.LogChunk(
                        lines=_lines(piece.lines),
                        problem=piece.problem,
                    ),
                )
            yield dispatcher_pb2.PublishedLogs(subscription_id=subscription_id, done=True)

        with swarm_errors(self._address):
            await self._stub.PublishLogs(messages())


def _lines(lines: Iterable[LogLine]) -> list[control_pb2.LogLine]:
    return [
        control_pb2.LogLine(
            task_id=line.task_id,
            service_id=line.service_id,
            timestamp=line.timestamp,
            stderr=line.stderr,
            data=line.data,
        )
        for line in lines
    ]
