"""The dispatcher's RPCs: sessions with agents, their beats, statuses and logs.

Only the leader's dispatcher is open; the others refuse, and the error names the leader.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import grpc.aio

from manager.conversations.driver import Conversations
from manager.dispatcher import volumes
from manager.dispatcher.assignments import (
    NodeAssignments,
    is_for_node,
    is_news,
    pull_credentials,
    references,
)
from manager.dispatcher.draining import Draining
from manager.dispatcher.endpoints import networks_of_node
from manager.dispatcher.outbox import Outbox
from manager.dispatcher.replies.server import DispatcherContext, Replies
from manager.dispatcher.sessions import NodeDown, Sessions
from manager.dispatcher.statuses import StatusBatch, newer_status
from manager.dispatcher.topology import Topology, touched_networks
from manager.logs.driver import LogBroker
from manager.nodecalls.driver import NodeCalls
from manager.skew import skew
from manager.state.driver import Commit
from manager.state.store import Transaction
from pyswarm.aio import Lagged, Supervisor
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.core import NEVER
from pyswarm.errors import NotFound, NotLeader, PermissionDenied, SwarmError
from pyswarm.model import (
    Cluster,
    Config,
    Network,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    RegistryCredential,
    Secret,
    Task,
    TaskStatus,
    Volume,
)
from pyswarm.wire import from_message, to_message

log = logging.getLogger(__name__)

COALESCE_SECONDS = 0.02
"""News of one node that come within this time travel together."""
STATUS_SECONDS = 0.03
"""Statuses of all nodes that come within this time share one write."""
LOGS_WAITING_MAX = 64
CONVERSATIONS_WAITING_MAX = 64
ASKS_WAITING_MAX = 64
RENEWALS_PER_SECOND = 10.0
"""Nodes that renew in a second while the root is rotated: each costs a few handshakes."""


@dataclass(slots=True)
class _Session:
    """One open Session stream."""

    node_id: str
    session_id: str
    outbox: Outbox = field(default_factory=Outbox)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    hello: bool = True
    over: bool = False
    logs: list[dispatcher_pb2.LogSubscription] = field(default_factory=list)
    conversations: list[dispatcher_pb2.Conversation] = field(default_factory=list)
    asks: list[dispatcher_pb2.NodeAsk] = field(default_factory=list)


class Dispatcher(Replies):
    """Sessions with all agents during one leadership; `open` and `close` bound it."""

    def __init__(self, context: DispatcherContext) -> None:
        super().__init__(context)
        self._streams: dict[str, _Session] = {}
        self._topology = Topology()
        self._statuses = StatusBatch()
        self._statuses_ready = asyncio.Event()
        self._written: asyncio.Future[None] | None = None
        self._supervisor: Supervisor | None = None
        self._draining = Draining()
        self._draining_news = asyncio.Event()
        self.logs = LogBroker(self._send_logs, lambda: self._streams, context.new_id)
        self.conversations = Conversations(self._announce, context.new_id)
        self.calls = NodeCalls(self._send_ask, context.new_id)

    async def open(self) -> None:
        """Begin to serve: this manager leads."""
        now = self._context.monotonic()
        view = self._store.view
        for cluster in view.list(Cluster):
            spec = cluster.spec
            self._sessions = Sessions(spec.heartbeat_period_seconds, spec.heartbeat_misses)
        for node in view.list(Node):
            if node.status.state == NodeState.READY:
                self._sessions.expect(node.id, now)
        self._topology = Topology()
        self._topology.refresh(view, None)
        self._draining = Draining()
        self._consider(view.list(Task))
        self.logs.open()
        self._supervisor = Supervisor("dispatcher")
        self._supervisor.start(self._follow_store(), "store")
        self._supervisor.start(self._watch_silence(), "silence")
        self._supervisor.start(self._write_statuses(), "statuses")
        self._supervisor.start(self._release_stops(), "stops")

    async def close(self) -> None:
        """Stop: this manager no longer leads. Agents look for the new leader."""
        if self._supervisor:
            await self._supervisor.close()
            self._supervisor = None
        for session in self._streams.values():
            session.over = True
            session.wake.set()
        self._streams = {}
        self.logs.close()
        self.conversations.close()

    def forget(self, node_id: str) -> None:
        """The node left: its silence is no news any more, and its session ends."""
        self._sessions.forget(node_id)
        session = self._streams.get(node_id)
        if session is not None:
            session.over = True
            session.wake.set()

    def _require_open(self) -> None:
        if self._supervisor is None:
            raise NotLeader(leader=self._context.leader_address())

    # ---- the RPCs ----

    async def Session(
        self, request: dispatcher_pb2.SessionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[dispatcher_pb2.SessionMessage]:
        """Everything that the calling node must know, for as long as it listens."""
        self._require_open()
        node_id = self._context.caller(context)
        description = from_message(NodeDescription, request.description)
        session = _Session(node_id, self._context.new_id())
        off = skew(request.clock - self._context.clock()) if request.clock else ""
        status = NodeStatus(
            state=NodeState.READY,
            address=request.address,
            message=off and f"its clock is {off} the leader's: set it, for instance with NTP",
        )
        await self._store.update(lambda tx: self._ready(tx, node_id, description, status))
        self._require_open()
        older = self._streams.get(node_id)
        if older is not None:
            older.over = True
            older.wake.set()
        self._streams[node_id] = session
        self._sessions.register(node_id, session.session_id, self._context.monotonic())
        log.info("node %s opened a session", node_id)
        try:
            while not session.over:
                session.wake.clear()
                for message in self._news(session):
                    yield message
                await session.wake.wait()
                await asyncio.sleep(COALESCE_SECONDS)
            raise NotLeader("this session is over", leader=self._context.leader_address())
        finally:
            if self._streams.get(node_id) is session:
                del self._streams[node_id]
                self.logs.lost(node_id)
                self.calls.lost(node_id)

    def _ready(
        self, tx: Transaction, node_id: str, description: NodeDescription, status: NodeStatus
    ) -> None:
        node = tx.get(Node, node_id)
        if node is None:
            raise PermissionDenied(f"node {node_id} was removed from the swarm")
        if not status.address:
            status = replace(status, address=node.status.address)
        ready = replace(node, description=description, status=status)
        if ready != node:
            tx.put(ready)

    async def Heartbeat(
        self,
        request_iterator: AsyncIterator[dispatcher_pb2.Beat],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dispatcher_pb2.BeatSummary:
        """Beats of the calling node. The end of the stream means nothing: it also comes when the
        node dies. Only a beat that says goodbye is a clean leave."""
        self._require_open()
        node_id = self._context.caller(context)
        beats = 0
        async for beat in request_iterator:
            self._require_open()
            if beat.goodbye:
                if self._sessions.is_current(node_id, beat.session_id):
                    self._sessions.forget(node_id)
                    await self._down([NodeDown(node_id, "the node said goodbye")])
                break
            if beat.restarting:
                now = self._context.monotonic()
                self._sessions.restarting(node_id, beat.session_id, now)
                break
            if not self._sessions.beat(node_id, beat.session_id, self._context.monotonic()):
                raise NotFound("this session is over: open a new one")
            beats += 1
        return dispatcher_pb2.BeatSummary(beats=beats)

    async def ReportStatus(
        self, request: dispatcher_pb2.StatusReport, context: grpc.aio.ServicerContext[Any, Any]
    ) -> dispatcher_pb2.StatusReply:
        """Statuses of the calling node's own tasks; answered once they are committed."""
        self._require_open()
        node_id = self._context.caller(context)
        # A report is a sign of life as well: a node counts its leases from those that are answered.
        if not self._sessions.beat(node_id, request.session_id, self._context.monotonic()):
            raise NotFound("this session is over: open a new one")
        for version in request.applied:
            self._draining.applied(version.network_id, node_id, version.version)
        if request.applied:
            self._look_at_stops()
        view = self._store.view
        for update in request.updates:
            task = view.get(Task, update.task_id)
            if task is not None and task.node_id != node_id:
                raise PermissionDenied(f"task {update.task_id} is not this node's")
            self._statuses.add(update.task_id, from_message(TaskStatus, update.status))
        if request.updates:
            if self._written is None:
                self._written = asyncio.get_running_loop().create_future()
            self._statuses_ready.set()
            await asyncio.shield(self._written)
        return dispatcher_pb2.StatusReply()

    # ---- news for a session ----

    def _news(self, session: _Session) -> list[dispatcher_pb2.SessionMessage]:
        view = self._store.view
        messages: list[dispatcher_pb2.SessionMessage] = []
        node = view.get(Node, session.node_id)
        if node is None:
            raise PermissionDenied(f"node {session.node_id} was removed from the swarm")
        if session.hello:
            session.hello = False
            messages.append(dispatcher_pb2.SessionMessage(hello=self._hello(session, node)))
        tasks = [
            self._draining.as_told(t) for t in view.tasks_of_node(session.node_id) if is_for_node(t)
        ]
        ingress = [n for n in view.list(Network) if n.spec.ingress]
        wanted = networks_of_node(tasks, ingress)
        # Endpoints first: a task that starts finds its networks there.
        endpoints = session.outbox.endpoints(
            {n: s for n, s in self._topology.sets.items() if n in wanted}
        )
        assignments = session.outbox.assignments(self._wanted(session.node_id, tasks))
        messages += [m for m in (endpoints, assignments) if m is not None]
        messages += [dispatcher_pb2.SessionMessage(logs=s) for s in session.logs]
        session.logs = []
        messages += [dispatcher_pb2.SessionMessage(conversation=c) for c in session.conversations]
        session.conversations = []
        messages += [dispatcher_pb2.SessionMessage(ask=ask) for ask in session.asks]
        session.asks = []
        return messages

    def _wanted(self, node_id: str, tasks: list[Task]) -> NodeAssignments:
        view = self._store.view
        secrets, configs = references(tasks)
        found_secrets = {key: view.get(Secret, key) for key in secrets}
        found_configs = {key: view.get(Config, key) for key in configs}
        return NodeAssignments(
            tasks={task.id: task for task in tasks},
            secrets={k: s for k, s in found_secrets.items() if s is not None},
            configs={k: c for k, c in found_configs.items() if c is not None},
            volumes=volumes.of_node(view, node_id, tasks),
            credentials=pull_credentials(tasks, view.list(RegistryCredential)),
        )

    def _hello(self, session: _Session, node: Node) -> dispatcher_pb2.SessionHello:
        [cluster] = self._store.view.list(Cluster)
        return dispatcher_pb2.SessionHello(
            session_id=session.session_id,
            heartbeat_period_seconds=cluster.spec.heartbeat_period_seconds,
            manager_addresses=self._context.manager_addresses(),
            node=to_message(node),
            cluster_id=cluster.id,
            root_certificate=cluster.root_ca.trusted_pem,
            renewal_spread_seconds=self._store.view.count(Node) / RENEWALS_PER_SECOND,
            images=to_message(cluster.spec.images),
        )

    def _send_logs(self, node_id: str, subscription: dispatcher_pb2.LogSubscription) -> bool:
        session = self._streams.get(node_id)
        if session is None or len(session.logs) >= LOGS_WAITING_MAX:
            return False
        session.logs.append(subscription)
        session.wake.set()
        return True

    def _announce(self, node_id: str, conversation: dispatcher_pb2.Conversation) -> bool:
        session = self._streams.get(node_id)
        if session is None or len(session.conversations) >= CONVERSATIONS_WAITING_MAX:
            return False
        session.conversations.append(conversation)
        session.wake.set()
        return True

    def _send_ask(self, node_id: str, ask: dispatcher_pb2.NodeAsk) -> bool:
        session = self._streams.get(node_id)
        if session is None or len(session.asks) >= ASKS_WAITING_MAX:
            return False
        session.asks.append(ask)
        session.wake.set()
        return True

    # ---- loops ----

    async def _follow_store(self) -> None:
        with self._store.watch() as commits:
            while True:
                try:
                    batch: list[Commit] = [await commits.get()]
                    batch += commits.get_nowait()
                    self._wake_for(batch)
                except Lagged:
                    self._topology.refresh(self._store.view, None)
                    self._consider(self._store.view.list(Task))
                    for session in self._streams.values():
                        session.hello = True
                        session.wake.set()

    def _wake_for(self, batch: list[Commit]) -> None:
        pairs = [(change.old, change.new) for commit in batch for change in commit.changes]
        nodes: set[str] = set()
        greeted: set[str] = set()
        everyone = False
        for old, new in pairs:
            record = new if new is not None else old
            if isinstance(record, Cluster):
                spec = record.spec
                self._sessions.configure(spec.heartbeat_period_seconds, spec.heartbeat_misses)
                everyone = True
            elif isinstance(record, Node):
                everyone = everyone or _managers_changed(old, new)
                if isinstance(old, Node) and old.role is not record.role:
                    greeted.add(record.id)
                nodes.add(record.id)
            elif isinstance(record, Task):
                if is_news(old, new):
                    nodes.add(record.node_id)
            elif isinstance(record, Volume):
                nodes |= {each.node_id for each in record.nodes}
            elif isinstance(record, Network):
                if record.spec.ingress:
                    nodes |= self._streams.keys()  # each node is in it
            elif isinstance(record, RegistryCredential):
                nodes |= self._streams.keys()  # whoever pulls with the old one needs the new one
        changed = self._topology.refresh(self._store.view, touched_networks(pairs))
        self._consider(new for _, new in pairs if isinstance(new, Task))
        for old, new in pairs:
            if isinstance(old, Task) and new is None:
                self._draining.forget(old.id)
        for session in self._streams.values():
            session.hello = session.hello or everyone or session.node_id in greeted
            if everyone or session.node_id in nodes or session.outbox.has_one_of(changed):
                session.wake.set()
        self._look_at_stops()

    def _look_at_stops(self) -> None:
        if self._draining.deadline() != NEVER:
            self._draining_news.set()

    def _consider(self, tasks: Iterable[Task]) -> None:
        now = self._context.monotonic()
        for task in tasks:
            self._draining.consider(task, self._topology.sets, now)

    async def _release_stops(self) -> None:
        """Let the nodes hear which of their tasks nobody begins a connection to any more."""
        while True:
            due = self._draining.deadline()
            wait = None if due == NEVER else max(due - self._context.monotonic(), 0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._draining_news.wait()
            self._draining_news.clear()
            if self._draining.deadline() != NEVER:
                nodes = self._store.view.list(Node)
                live = {n.id for n in nodes if n.status.state == NodeState.READY}
                now = self._context.monotonic()
                for node_id in self._draining.advance(self._topology.sets, live, now):
                    if node_id in self._streams:
                        self._streams[node_id].wake.set()
            await asyncio.sleep(COALESCE_SECONDS)

    async def _watch_silence(self) -> None:
        while True:
            down = self._sessions.tick(self._context.monotonic())
            try:
                if down:
                    await self._down(down)
            except SwarmError as error:
                # Silence is told once, so who could not be marked now is listened for once more.
                log.warning("silent nodes could not be marked: %s; trying again", error.message)
                for event in down:
                    self._sessions.expect(event.node_id, self._context.monotonic())
            wait = self._sessions.deadline() - self._context.monotonic()
            await asyncio.sleep(min(max(wait, 0.02), 0.25))

    async def _down(self, events: list[NodeDown]) -> None:
        now = self._context.clock()

        def mark(tx: Transaction) -> None:
            for event in events:
                node = tx.get(Node, event.node_id)
                if node is not None and node.status.state != NodeState.DOWN:
                    tx.put(replace(node, status=event.status(node.status, now)))

        for event in events:
            log.warning("node %s is down: %s", event.node_id, event.message)
            self.conversations.lost(event.node_id, event.message)
            session = self._streams.get(event.node_id)
            if session is not None:
                session.over = True
                session.wake.set()
        await self._store.update(mark)

    async def _write_statuses(self) -> None:
        while True:
            await self._statuses_ready.wait()
            await asyncio.sleep(STATUS_SECONDS)
            self._statuses_ready.clear()
            batch, written = self._statuses.take(), self._written
            self._written = None
            error = await self._write_batch(batch)
            if written is not None and not written.done():
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
                    written.exception()

    async def _write_batch(self, batch: dict[str, TaskStatus]) -> SwarmError | None:
        try:
            await self._store.batch(sorted(batch), lambda tx, key: _write(tx, key, batch[key]))
        except SwarmError as error:
            return error
        return None


def _write(tx: Transaction, task_id: str, status: TaskStatus) -> None:
    task = tx.get(Task, task_id)
    if task is not None and newer_status(task.status, status):
        tx.put(replace(task, status=status))


def _managers_changed(old: object | None, new: object | None) -> bool:
    before = old.manager if isinstance(old, Node) else None
    after = new.manager if isinstance(new, Node) else None
    return before != after
