"""A conversation with a manager as the agent holds it: protobuf objects stop here."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from agent.executor.programs import ContainerUse, ProgramRequest
from pyswarm.aio import Closed, Pipe, Supervisor
from pyswarm.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, observe_pb2
from pyswarm.errors import InvalidArgument, SwarmError, Unavailable
from pyswarm.rpc import swarm_errors

log = logging.getLogger(__name__)

BEGIN_SECONDS: Final = 10.0
FINISH_SECONDS: Final = 5.0
_MESSAGE: Final = dispatcher_pb2.ConversationAsk


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAsked:
    """Run a program in a task's container; detached, it does not matter who listens."""

    task_id: str
    program: ProgramRequest
    detach: bool


@dataclass(frozen=True, slots=True)
class InputGiven:
    """Input for the program."""

    data: bytes


@dataclass(frozen=True, slots=True)
class InputOver:
    """No more input comes."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The terminal has another size."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal for the program."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsAsked:
    """What tasks use, of these services and tasks, or of all; once, or each interval."""

    services: frozenset[str]
    tasks: frozenset[str]
    interval_seconds: float
    once: bool

    @property
    def all(self) -> bool:
        """Whether every task is meant."""
        return not self.services and not self.tasks


Ask = RunAsked | InputGiven | InputOver | Resized | Signalled | StatsAsked


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUse:
    """What a task uses, for an answer; `cpu_percent` between its last two looks."""

    task_id: str
    task_name: str
    service_id: str
    cpu_percent: float
    use: ContainerUse


class Exchange:
    """The stream of one conversation. Every call raises SwarmError, and Unavailable once the
    manager has gone."""

    def __init__(self, channel: grpc.aio.Channel, address: str, conversation_id: str) -> None:
        self._address = address
        self._id = conversation_id
        # The generated stubs of the asyncio kind differ in their types only.
        stub: Any = dispatcher_pb2_grpc.DispatcherStub(channel)
        self._call = stub.Converse()
        self._over = asyncio.Event()
        self._turn = asyncio.Lock()
        """Of who writes: a stream takes one message at a time."""
        self._asks: Pipe[Ask] = Pipe(1)
        # Its own task, since a cancelled read would cancel the whole stream.
        self._reader = Supervisor("exchange")
        self._call.add_done_callback(lambda call: self._over.set())

    async def begin(self) -> Ask:
        """Say which conversation this is; what the manager asks."""
        await self._send(dispatcher_pb2.ConversationAnswer(conversation_id=self._id))
        self._reader.start(self._read(), "asks")
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                return await self._asks.get()
        except (Closed, TimeoutError):
            raise Unavailable("the manager asks nothing") from None

    async def _read(self) -> None:
        try:
            with swarm_errors(self._address):
                while isinstance(
                    message := await self._call.read(), dispatcher_pb2.ConversationAsk
                ):
                    with suppress(Closed):  # nobody wants more, and the stream is read to its end
                        await self._asks.put(read_ask(message))
        except SwarmError as error:
            log.info("a conversation with %s ends: %s", self._address, error.message)
        finally:
            self._asks.close()
            self._over.set()

    async def ask(self) -> Ask | None:
        """What the manager says next; None where it has ended the conversation."""
        try:
            return await self._asks.get()
        except Closed:
            return None

    async def started(self) -> None:
        """The program runs."""
        await self._exec(observe_pb2.ExecOutput(started=True))

    async def wrote(self, stderr: bool, data: bytes) -> None:
        """What the program wrote; waits while the manager is slow."""
        await self._exec(
            observe_pb2.ExecOutput(stderr=data) if stderr else observe_pb2.ExecOutput(stdout=data)
        )

    async def took(self, inputs: int) -> None:
        """So many messages with input the program has taken."""
        await self._exec(observe_pb2.ExecOutput(inputs_taken=inputs))

    async def ended(self, exit_code: int, error: str = "") -> None:
        """How the program ended, or why it could not be run."""
        ended = observe_pb2.ExecEnded(exit_code=exit_code, error=error)
        await self._exec(observe_pb2.ExecOutput(ended=ended))

    async def uses(self, tasks: list[TaskUse]) -> None:
        """What tasks use now."""
        batch = observe_pb2.StatsBatch(tasks=[_stats(each) for each in tasks])
        await self._send(dispatcher_pb2.ConversationAnswer(stats=batch))

    async def refuse(self, message: str) -> None:
        """Why there is no answer."""
        await self._send(dispatcher_pb2.ConversationAnswer(failed=message))

    async def finish(self) -> None:
        """Everything is said; what was sent is delivered when this returns."""
        self._asks.close()
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._call.done_writing()
                await self._call.code()
        except (asyncio.InvalidStateError, grpc.aio.BaseError, TimeoutError):
            return  # the manager was faster, or it has gone

    async def over(self) -> None:
        """Until the stream has ended, for a reader that is busy."""
        await self._over.wait()

    async def close(self) -> None:
        """Drop the stream."""
        self._call.cancel()
        await self._reader.close()

    async def _exec(self, output: observe_pb2.ExecOutput) -> None:
        await self._send(dispatcher_pb2.ConversationAnswer(exec=output))

    async def _send(self, answer: dispatcher_pb2.ConversationAnswer) -> None:
        try:
            async with self._turn:
                with swarm_errors(self._address):
                    await self._call.write(answer)
        except (asyncio.InvalidStateError, grpc.aio.BaseError):
            raise Unavailable("the manager has ended the conversation") from None


def read_ask(message: dispatcher_pb2.ConversationAsk) -> Ask:
    """The record of one message; raises InvalidArgument for a kind that is not known."""
    if message.HasField("stats"):
        stats = message.stats
        return StatsAsked(
            services=frozenset(stats.services),
            tasks=frozenset(stats.tasks),
            interval_seconds=stats.interval_seconds,
            once=stats.once,
        )
    said = message.exec
    match said.WhichOneof("input"):
        case "start":
            return _run_asked(said.start)
        case "stdin":
            return InputGiven(said.stdin)
        case "stdin_over":
            return InputOver()
        case "resize":
            return Resized(said.resize.rows, said.resize.columns)
        case "signal":
            return Signalled(said.signal)
    raise InvalidArgument("the manager asks what this version does not know")


def _run_asked(start: observe_pb2.ExecStart) -> RunAsked:
    return RunAsked(
        task_id=start.task,
        detach=start.detach,
        program=ProgramRequest(
            argv=tuple(start.command),
            env=tuple(start.env),
            user=start.user,
            workdir=start.working_directory,
            tty=start.tty,
            stdin=start.stdin,
            rows=start.size.rows,
            columns=start.size.columns,
        ),
    )


def _stats(each: TaskUse) -> observe_pb2.TaskStats:
    use = each.use
    return observe_pb2.TaskStats(
        task_id=each.task_id,
        task_name=each.task_name,
        service_id=each.service_id,
        cpu_percent=each.cpu_percent,
        memory_bytes=use.memory_bytes,
        memory_limit_bytes=use.memory_limit_bytes,
        block_read_bytes=use.block_read_bytes,
        block_written_bytes=use.block_written_bytes,
        network_received_bytes=use.network_received_bytes,
        network_sent_bytes=use.network_sent_bytes,
        pids=use.pids,
        pids_limit=use.pids_limit,
    )
