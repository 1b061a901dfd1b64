"""Who hears whom, when: raft messages one by one, and gRPC calls over connections that break.

The raft messages may be lost, doubled, late and out of order. A gRPC call keeps its order, and
waits while its way is blocked, until keepalive gives the connection up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from manager.raft.membership import Membership
from manager.raft.messages import Append, Heartbeat, InstallSnapshot, Message
from manager.raft.seams import Receiver
from manager.raft.transport import RemovedSender
from pyswarm.errors import SwarmError
from pyswarm.testing.plane.loop import ProcessLoop, State, Timeline

KEEPALIVE_SECONDS = 5.0
"""After which a client gives up a connection on which nothing comes back (3 + 2)."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does to a message; times in seconds."""

    delay: float = 0.002
    drop: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    late_seconds: float = 2.0


CALM = Weather()


class Process(Protocol):
    """What the network knows of a process: it serves at `address` while its loop lives."""

    name: str
    loop: ProcessLoop
    peers: RaftTransport | None


@dataclass(slots=True)
class Network:
    """All hosts by name; `blocked` holds the pairs (from, to) between which nothing passes."""

    timeline: Timeline
    chance: random.Random
    weather: Weather = field(default_factory=Weather)
    blocked: set[tuple[str, str]] = field(default_factory=set)
    processes: dict[str, Process] = field(default_factory=dict)
    """The process that runs on each host now; none where the host or its process is down."""
    dark: set[str] = field(default_factory=set)
    """Hosts without power: nobody there refuses a connection."""
    on_leader: Callable[[int, int], None] = lambda term, raft_id: None
    on_heal: list[Callable[[], None]] = field(default_factory=list)

    def passes(self, source: str, target: str) -> bool:
        """Whether something sent now would arrive."""
        return (source, target) not in self.blocked

    def block(self, pairs: set[tuple[str, str]]) -> None:
        """Nothing passes between these any more."""
        self.blocked |= pairs

    def unblock(self, pairs: set[tuple[str, str]]) -> None:
        """It passes again, and what waited goes on."""
        self.blocked -= pairs
        for callback in list(self.on_heal):
            callback()

    def delay(self) -> float:
        """The time that one message takes."""
        return self.weather.delay * (0.5 + self.chance.random())


def host_of(address: str) -> str:
    """The host at "host:port"."""
    return address.partition(":")[0]


class RaftTransport:
    """`manager.raft.runtime.Transport` over the simulated network."""

    def __init__(self, network: Network, process: Process, node_id: str) -> None:
        self._network = network
        self._process = process
        self._node_id = node_id
        self._address = f"{process.name}:2377"
        self._hosts: dict[int, str] = {}
        self._receiver: Receiver | None = None
        self._loop = process.loop

    def add_to(self, server: object) -> None:
        """Its messages need no server."""

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver."""
        self._receiver = receiver
        self._process.peers = self

    async def stop(self) -> None:
        """End."""
        self._receiver = None

    def set_members(self, membership: Membership) -> None:
        """Know the peers; a removed one is kept, so that it hears of it."""
        for member in membership.members:
            self._hosts[member.raft_id] = host_of(member.address)

    def send(self, messages: Sequence[Message]) -> None:
        """Send, or lose."""
        by_host: dict[str, list[Message]] = {}
        for message in messages:
            host = self._hosts.get(message.to)
            if host is not None:
                by_host.setdefault(host, []).append(message)
        for host, batch in by_host.items():
            self._post(host, batch)

    def _post(self, host: str, batch: list[Message]) -> None:
        network, weather = self._network, self._network.weather
        timeline, draw = network.timeline, network.chance.random
        if isinstance(batch[0], Append | Heartbeat):
            network.on_leader(batch[0].term, batch[0].sender)
        if host not in network.processes and draw() < 0.3:
            timeline.at(timeline.now + network.delay(), self._lost, batch[0].to, loop=self._loop)
            return
        if weather.drop and draw() < weather.drop:
            return
        delay = weather.delay * (0.5 + draw())
        if weather.late and draw() < weather.late:
            delay = draw() * weather.late_seconds
        timeline.at(timeline.now + delay, self._arrive, host, batch)
        if weather.duplicate and draw() < weather.duplicate:
            again = draw() * weather.late_seconds
            timeline.at(timeline.now + again, self._arrive, host, batch)

    def _lost(self, raft_id: int) -> None:
        if self._receiver is not None:
            self._receiver.unreachable(raft_id)

    def _arrive(self, host: str, batch: list[Message]) -> None:
        network = self._network
        if not network.passes(self._process.name, host):
            return
        process = network.processes.get(host)
        if process is not None and process.loop.state is State.RUNS and process.peers is not None:
            process.loop.call_soon(self._deliver, process.peers, batch)

    def _deliver(self, target: RaftTransport, batch: list[Message]) -> None:
        receiver = target._receiver
        if receiver is None:
            return
        sender = batch[0].sender
        try:
            receiver.check_sender(sender, self._node_id)
        except RemovedSender:
            self._network.timeline.at(
                self._network.timeline.now + self._network.delay(),
                self._told_removed,
                loop=self._loop,
            )
            return
        except SwarmError:
            return
        # A new member hears of its leader here before the log has told it who is who.
        target._hosts.setdefault(sender, self._process.name)
        receiver.receive([message for message in batch if message.to == receiver.raft_id])

    def _told_removed(self) -> None:
        if self._receiver is not None:
            self._receiver.told_removed()

    def send_snapshot(self, message: InstallSnapshot, done: Callable[[bool], None]) -> None:
        """Send, and report whether it arrived."""
        network = self._network
        timeline = network.timeline
        host = self._hosts.get(message.to, "")
        way = network.delay() + len(message.data) / 50e6
        lost = network.chance.random() < network.weather.drop or not network.passes(
            self._process.name, host
        )
        if not lost:
            timeline.at(timeline.now + way, self._arrive, host, [message])
        later = way + network.delay() if not lost else KEEPALIVE_SECONDS
        timeline.at(timeline.now + later, done, not lost, loop=self._loop)
