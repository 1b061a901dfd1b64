"""The link to the managers: performs what the session's and the reporter's machines decide."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc.aio

from agent import reporter, session
from agent.assignments import AssignmentNews
from agent.client import Beats, ConversationAsked, DispatcherClient, Hello, LogPiece, LogsAsked
from agent.conversations.client import Exchange
from agent.networks import NetworkNews
from agent.volumes.report import VolumeReport
from pyswarm.aio import Supervisor
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.errors import NotLeader, PermissionDenied, SwarmError, Unavailable
from pyswarm.model import NodeDescription, TaskStatus

log = logging.getLogger(__name__)

GOODBYE_SECONDS: Final = 3.0
RESTART_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 1.0
REMOVED: Final = "was removed from the swarm"
"""How the managers refuse a node that is no member any more (with PERMISSION_DENIED)."""


class Listener(Protocol):
    """Who is told what the managers say. Nothing here may wait."""

    def on_opened(self) -> None:
        """A new session: everything follows from the beginning."""

    def on_hello(self, hello: Hello) -> None:
        """Who we are to the managers, and where they are."""

    def on_assignments(self, news: AssignmentNews) -> bool:
        """What to run; False asks for a new session."""

    def on_networks(self, news: NetworkNews) -> bool:
        """Who is where; False asks for a new session."""

    def on_logs(self, asked: LogsAsked) -> None:
        """Somebody wants to read logs."""

    def on_conversation(self, conversation_id: str) -> None:
        """A manager wants to talk."""

    def on_ask(self, ask: dispatcher_pb2.NodeAsk) -> None:
        """A manager wants to know or have something of this node."""

    def on_closed(self) -> None:
        """The session is over."""

    def on_removed(self) -> None:
        """The managers do not know this node any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """What the link is given; `channels` answers the channel to a manager at "host:port", and
    `on_contact` is told the monotonic time at which a report was sent that a manager answered."""

    channels: Callable[[str], grpc.aio.Channel]
    describe: Callable[[], NodeDescription]
    underlay_address: str
    managers: Callable[[], list[str]]
    on_contact: Callable[[float], None] = lambda sent_at: None


def _shuffled(items: list[str]) -> list[str]:
    return random.sample(items, len(items))


def _jitter(limit: float) -> float:
    return random.uniform(limit / 2, limit)


class Link:
    """One session at a time with the leader, opened again whenever it breaks."""

    def __init__(self, settings: LinkSettings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._session = session.SessionMachine(_shuffled, _jitter)
        self._reporter = reporter.ReporterMachine()
        self._supervisor = Supervisor("link")
        self._wake = asyncio.Event()
        self._sleeps_until = 0.0
        self._client: DispatcherClient | None = None
        self._beats: Beats | None = None
        self._work: dict[asyncio.Task[Any], None] = {}
        """What belongs to the session that is open or being opened."""

    @property
    def connected(self) -> bool:
        """Whether a session is open."""
        return bool(self._session.session_id)

    @property
    def manager(self) -> str:
        """The manager that is talked to; empty while none is."""
        return self._session.address if self.connected else ""

    def start(self) -> None:
        """Begin to look for the leader."""
        self._supervisor.start(self._tick(), "clock")

    async def stop(self, goodbye: bool = False) -> None:
        """End the session. With `goodbye` the managers know at once that the node is away, without
        it that it comes back."""
        beats = self._beats
        self._decide(session.Stopped(goodbye))
        if beats is not None:
            try:
                async with asyncio.timeout(GOODBYE_SECONDS if goodbye else RESTART_SECONDS):
                    await beats.wait()
            except (TimeoutError, SwarmError) as error:
                log.warning("no manager heard that this node stops: %s", error)
        if self._work:
            self._close("the agent stops")
        await self._supervisor.close()

    def status(self, task_id: str, status: TaskStatus) -> None:
        """Report a task's status."""
        self._report(reporter.StatusChanged(task_id, status))

    def applied(self, versions: dict[str, int]) -> None:
        """Report the versions of the endpoint sets that the overlay runs."""
        self._report(reporter.NetworksApplied(versions))

    def forget(self, task_id: str) -> None:
        """A task that the managers do not know any more."""
        self._report(reporter.TaskForgotten(task_id))

    def renew(self, reason: str) -> None:
        """Drop the session and open a new one, which begins from the beginning."""
        self._decide(session.Broken(reason))

    def probe_every(self, seconds: float) -> None:
        """Ask so often for an answer; NEVER: only after silence."""
        self._session.probe_every(seconds, time.monotonic())
        self._wake_if_due()

    def converse(self, conversation_id: str) -> Exchange:
        """Open a conversation with the manager that asked for it; raises Unavailable."""
        if self._client is None:
            raise Unavailable("no manager is connected")
        return self._client.converse(conversation_id)

    async def publish(self, subscription_id: str, pieces: AsyncIterator[LogPiece]) -> None:
        """Send logs to the manager that asked for them."""
        if self._client is None:
            raise Unavailable("no manager is connected")
        await self._client.publish(subscription_id, pieces)

    async def report_volumes(self, report: VolumeReport) -> None:
        """Tell the manager which volumes are here; raises SwarmError where none has heard it."""
        if self._client is None or not self.connected:
            raise Unavailable("no manager is connected")
        await self._client.report_volumes(self._session.session_id, report)

    async def answer(self, answer: dispatcher_pb2.NodeAnswer) -> None:
        """Send an answer to the manager that asked."""
        if self._client is None:
            raise Unavailable("no manager is connected")
        await self._client.answer(answer)

    # ---- the clock ----

    async def _tick(self) -> None:
        while True:
            self._decide(session.ManagersKnown(tuple(self._settings.managers())))
            self._decide(session.Tick())
            self._report(reporter.Tick())
            now = time.monotonic()
            # The managers may also become known from outside, without an event.
            self._sleeps_until = min(self._due(), now + LOOK_SECONDS)
            self._wake.clear()
            try:
                async with asyncio.timeout(max(self._sleeps_until - now, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _due(self) -> float:
        return min(self._session.deadline(), self._reporter.deadline())

    def _wake_if_due(self) -> None:
        """Wake the clock where it would sleep too long; most events leave it as it is."""
        if self._due() < self._sleeps_until:
            self._wake.set()

    # ---- the session ----

    def _decide(self, event: session.Event) -> None:
        for command in self._session.handle(event, time.monotonic()):
            match command:
                case session.Open(address):
                    self._begin(self._converse(address), f"session {address}")
                case session.SendBeat():
                    self._beat(command)
                case session.SendProbe(session_id):
                    self._begin(self._deliver(session_id, reporter.Send(), False), "probe")
                case session.Close(reason):
                    self._close(reason)
        self._wake_if_due()

    def _begin(self, work: Any, name: str) -> None:
        task = self._supervisor.start(work, name)
        self._work[task] = None
        task.add_done_callback(lambda done: self._work.pop(done, None))

    def _close(self, reason: str) -> None:
        log.info("session with a manager over: %s", reason)
        current = asyncio.current_task()
        for task in self._work:
            if task is not current:
                task.cancel()
        self._work = {}
        was_open, self._client, self._beats = self._beats is not None, None, None
        self._report(reporter.SessionClosed())
        if was_open:
            self._listener.on_closed()

    async def _converse(self, address: str) -> None:
        task = asyncio.current_task()
        broken = session.Broken(f"{address} ended the session")
        try:
            client = DispatcherClient(self._settings.channels(address), address)
            settings = self._settings
            messages = client.session(settings.describe(), settings.underlay_address, time.time())
            async with aclosing(messages):
                async for message in messages:
                    self._take(client, message)
                    if task not in self._work:
                        return
        except NotLeader as error:
            broken = session.Broken(error.message, error.leader_address)
        except PermissionDenied as error:
            broken = session.Broken(error.message)
            if REMOVED in error.message:
                self._listener.on_removed()
        except SwarmError as error:
            broken = session.Broken(error.message)
        except Exception:
            # A session that dies of our own bug must be opened again like any other.
            log.exception("a message of %s could not be taken", address)
        if task in self._work:
            self._decide(broken)

    def _take(self, client: DispatcherClient, message: Any) -> None:
        fits = True
        match message:
            case Hello():
                self._hello(client, message)
            case AssignmentNews():
                fits = self._listener.on_assignments(message)
            case NetworkNews():
                fits = self._listener.on_networks(message)
            case LogsAsked():
                self._listener.on_logs(message)
            case ConversationAsked(conversation_id):
                self._listener.on_conversation(conversation_id)
            case dispatcher_pb2.NodeAsk():
                self._listener.on_ask(message)
        if fits:
            self._decide(session.Heard())
        else:
            self.renew("a message before this one is missing")

    def _hello(self, client: DispatcherClient, hello: Hello) -> None:
        first = self._client is None
        if first:
            self._client = client
            self._beats = client.beats()
            self._begin(self._follow_beats(self._beats), "beats")
            self._listener.on_opened()
        self._decide(session.ManagersKnown(hello.manager_addresses))
        self._decide(session.Opened(hello.session_id, hello.heartbeat_period_seconds))
        if first:
            log.info("session with %s open", self._session.address)
            self._report(reporter.SessionOpened())
        self._listener.on_hello(hello)

    def _beat(self, beat: session.SendBeat) -> None:
        if self._beats is not None:
            self._beats.send(beat.session_id, beat.goodbye, beat.restarting)

    async def _follow_beats(self, beats: Beats) -> None:
        reason = "the manager closed the stream of beats"
        try:
            await beats.wait()
        except SwarmError as error:
            reason = error.message
        finally:
            beats.cancel()
        if asyncio.current_task() in self._work:
            self._decide(session.Broken(reason))

    # ---- reports ----

    def _report(self, event: reporter.Event) -> None:
        for send in self._reporter.handle(event, time.monotonic()):
            work = self._deliver(self._session.session_id, send, True)
            self._begin(work, f"report of {len(send.updates)} statuses")
        self._wake_if_due()

    async def _deliver(self, session_id: str, send: reporter.Send, counts: bool) -> None:
        client = self._client
        if client is None:
            return
        sent_at = time.monotonic()
        try:
            await client.report(session_id, send)
        except SwarmError as error:
            if asyncio.current_task() in self._work:
                self._decide(session.Broken(error.message))
            return
        self._settings.on_contact(sent_at)
        if asyncio.current_task() in self._work:
            self._decide(session.Heard())
            if counts:
                self._report(reporter.Delivered())
