"""A cluster of simulated members with everything that may go wrong, in virtual time."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manager.raft.core import NOTHING
from manager.raft.membership import AddMember, Change, Member, Membership, RemoveMember
from manager.raft.messages import EntryKind, InstallSnapshot, Message
from manager.raft.roles import Follower
from manager.raft.settings import RaftSettings
from pyswarm.errors import DataLoss, SwarmError
from pyswarm.testing.raft_files import FileDisk
from pyswarm.testing.raft_network import Network, NetworkFaults, Timeline
from pyswarm.testing.raft_node import SimNode, Violation
from pyswarm.testing.raft_observer import ClientRead, ClientWrite, Observer

TICK = 10  # one tick in units of virtual time, so a unit is 10 ms with the default settings
CONVERGE_TIME = 6000
CALM_TIME = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults(NetworkFaults):
    """What may go wrong. Chances are per message or per unit of time; times in units."""

    time: int = 2500
    write_time: int = 12
    slow_disk: float = 0.0006
    slow_disk_time: int = 300
    slow_write_time: int = 150
    disk_full: float = 0.0006
    disk_full_time: int = 250
    crash: float = 0.002
    write_arrives: float = 0.3  # of a write that was under way at a crash
    down_time: int = 250
    killed: float = 0.5  # of a crash: of a process alone, whose connections break at once
    disconnect: float = 0.001  # a connection to the leader breaks, and both live
    pause: float = 0.0008  # a process that is stopped: its messages wait for it
    pause_time: int = 150
    drift: float = 0.15  # a clock's pace differs from the true one by up to this share
    drift_change: float = 0.001
    slow_apply: float = 0.1
    proposal: float = 0.12
    read: float = 0.05
    transfer: float = 0.0015
    change: float = 0.003
    snapshot: float = 0.01
    members: int = 7
    least: int = 1  # as many voters stay
    files: bool = False  # the real disk instead of a model, with torn and damaged writes
    damage: float = 0.15  # of a restart from real files: a bit has flipped, and it is refused


class Simulation:
    """N members, a network and a disk each, and clients that write and read."""

    def __init__(
        self,
        seed: int,
        faults: Faults | None = None,
        *,
        settings: RaftSettings | None = None,
        voters: int = 0,
    ) -> None:
        self.chance = random.Random(seed)
        self.faults = faults or Faults()
        self.settings = settings or RaftSettings(
            election_ticks=5,
            entries_for_slow_followers=self.chance.choice((0, 3, 10)),
            append_bytes=self.chance.choice((1, 100, 1 << 20)),
            inflight_messages=self.chance.choice((2, 4, 256)),
            segment_bytes=self.chance.choice((600, 2000)),
        )
        self.line = Timeline()
        self.nodes: dict[int, SimNode] = {}
        self.network = Network(self.line, self.faults, self.chance, self._deliver)
        self.observer = Observer(self.nodes)
        self.commits = 0
        self.answered = 0
        self.lost: set[int] = set()  # members whose disk is damaged: they do not return
        self._refused: set[int] = set()  # and have tried to
        self._cleanup = ExitStack()
        self._directory: Path | None = None
        if self.faults.files:
            made = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="raft-sim-"))
            self._directory = Path(made)
        self._full: set[int] = set()
        self._slow: set[int] = set()
        self._paused: dict[int, list[Callable[[], None]]] = {}
        self._pace: dict[int, float] = {}
        self._rounds: dict[int, Callable[[], None]] = {}
        self._reads: dict[int, ClientRead] = {}
        self._count = 0
        first = range(1, (voters or self.chance.choice((1, 3, 3, 5))) + 1)
        membership = Membership.of(Member(raft_id) for raft_id in first)
        for raft_id in first:
            self._node(raft_id).bootstrap(membership)
        for raft_id in first:
            self._start(raft_id)

    @property
    def now(self) -> int:
        """The time in units."""
        return self.line.now

    def _node(self, raft_id: int) -> SimNode:
        disk = None
        if self._directory is not None:
            disk = FileDisk(raft_id, self._directory / str(raft_id), self.settings, self.chance)
        node = self.nodes[raft_id] = SimNode(raft_id, self.settings, self.chance, disk)
        self._rounds[raft_id] = partial(self._round, node)
        self._drift(node)
        return node

    # -- the world ----------------------------------------------------------------------------

    def run(self) -> None:
        """Faults for a while, then calm; all members must end with the same state, and stay so."""
        with self._cleanup:
            self.disturb()
            self.line.advance(self.faults.time)
            self._heal()
            self._converge()
            self._stay_calm()
        for index, data in self.observer.acknowledged.items():
            if index not in self.observer.history:
                raise Violation(f"acknowledged entry {index} ({data!r}) was lost")

    def disturb(self) -> None:
        """Begin with faults and clients; each comes at random times."""
        faults = self.faults
        for rate, do in (
            (faults.proposal, self._propose),
            (faults.read, self._read),
            (faults.crash, self._crash),
            (faults.disconnect, self._disconnect),
            (faults.partition, self._partition),
            (faults.disk_full, self._fill_disk),
            (faults.slow_disk, self._slow_down),
            (faults.pause, self._pause),
            (faults.drift_change, lambda: self._drift(self._any_up())),
            (faults.transfer, self._transfer),
            (faults.change, self._change),
            (faults.snapshot, self._snapshot),
        ):
            if rate:
                self._again(rate, do)

    def _again(self, rate: float, do: Callable[[], None]) -> None:
        def happen() -> None:
            if not self.network.calm:
                do()
                self._again(rate, do)

        self.line.at(1 + int(self.chance.expovariate(rate)), happen)

    def _heal(self) -> None:
        """The end of the faults; the last messages that are late arrive."""
        self.network.calm = True
        self.network.heal()
        self._slow.clear()
        for raft_id in list(self._paused):
            self._resume(raft_id)
        for raft_id in list(self._full):
            self._room_again(self.nodes[raft_id], self.nodes[raft_id].life)
        for raft_id, node in self.nodes.items():
            if not node.up:
                self._start(raft_id)
        self.line.advance(self.now + self.faults.late_delay)

    def _converge(self) -> None:
        end = self.now + CONVERGE_TIME
        while not self._converged():
            if self.now > end:
                raise Violation(f"no convergence after the faults: {self._describe()}")
            if self.chance.random() < 0.02:
                self._propose()
            self.line.advance(self.now + 1)

    def _stay_calm(self) -> None:
        """Without faults nobody asks for an election, and every client gets its answer."""
        leader = self._leader()
        assert leader is not None, "a leader was there a moment ago"
        term, reads, end = leader.raft.term, [], self.now + CALM_TIME
        writes = []
        while self.now < end:
            if self.now % 20 == 0 and self.now < end - CALM_TIME // 2:
                writes.append(self._write_to(leader))
                member = self.chance.choice(leader.raft.membership.ids)
                if member not in self.lost:
                    reads.append(self._read_at(self.nodes[member]))
            self.line.advance(self.now + 1)
        if leader.raft.term != term or not leader.leads:
            raise Violation(f"the leader of term {term} did not stay: {self._describe()}")
        silent = sum(not w.served for w in writes) + sum(not r.served for r in reads)
        if silent:
            raise Violation(f"{silent} clients wait without a fault: {self._describe()}")

    def _converged(self) -> bool:
        leading = [node for node in self.nodes.values() if node.leads and node.raft.is_leader]
        if not leading:
            return False
        leader = max(leading, key=lambda node: node.raft.term)
        last = leader.raft.log.last_index
        members = [self.nodes[i] for i in leader.raft.membership.ids if i not in self.lost]
        return last >= self.observer.highest and all(
            node.applied == last and node.raft.term == leader.raft.term for node in members
        )

    def _describe(self) -> str:
        return "; ".join(
            f"{node.id} {'up' if node.up else 'down'} {node.raft.role.name} term {node.raft.term} "
            f"last {node.raft.log.last_index} commit {node.raft.log.commit} applied {node.applied} "
            f"voters {node.raft.membership.voters}"
            for node in self.nodes.values()
        )

    def _any_up(self) -> SimNode | None:
        up = [node for node in self.nodes.values() if node.up and node.id not in self._paused]
        return self.chance.choice(up) if up else None

    def _leader(self) -> SimNode | None:
        leading = [node for node in self.nodes.values() if node.leads]
        leading = [node for node in leading if node.id not in self._paused]
        return self.chance.choice(leading) if leading else None

    def _start(self, raft_id: int) -> None:
        node = self.nodes[raft_id]
        if node.up or raft_id in self._refused:
            return
        try:
            node.start()
        except DataLoss:
            self._refused.add(raft_id)
            return
        self._schedule(node)
        self._let_tick(node)

    def _let_tick(self, node: SimNode) -> None:
        life, raft, later, chance = node.life, node.raft, self.line.at, self.chance.random
        paused, pace, raft_id = self._paused, self._pace, node.id

        def tick() -> None:
            if not node.up or node.life != life:
                return
            if raft_id in paused:
                paused[raft_id].append(tick)
                return
            role = raft.role
            raft.tick()
            if role is not raft.role or role.__class__ is not Follower:
                self._schedule(node)  # a follower that goes on to follow has only counted
            later(int(TICK * pace[raft_id] + chance()), tick)

        later(self.chance.randint(1, TICK), tick)

    def _drift(self, node: SimNode | None) -> None:
        if node is not None:
            self._pace[node.id] = 1 + self.faults.drift * (2 * self.chance.random() - 1)

    def _crash(self) -> None:
        node = self._any_up()
        if node is None:
            return
        node.crash(write_arrived=self.chance.random() < self.faults.write_arrives)
        self._full.discard(node.id)
        if self.chance.random() < self.faults.killed:
            for peer in self.nodes.values():
                if peer.up and (node.id, peer.id) not in self.network.blocked:
                    self._later(self.faults.delay, partial(self._broken, node.id), peer)
        damaged = self.chance.random() < self.faults.damage
        if damaged and isinstance(node.disk, FileDisk) and self._can_lose(node.id):
            node.disk.damage()
            self.lost.add(node.id)
        self.line.at(self.chance.randint(1, self.faults.down_time), partial(self._start, node.id))

    def _broken(self, peer: int, node: SimNode, life: int) -> None:
        node.raft.disconnected(peer)

    def _disconnect(self) -> None:
        node = self._any_up()
        if node is not None and node.raft.leader_id:
            node.raft.disconnected(node.raft.leader_id)

    def _can_lose(self, raft_id: int) -> bool:
        """Whether the others can go on for ever without this one, as far as anybody knows."""
        if self.lost:
            return False
        for node in self.nodes.values():
            if not hasattr(node, "raft"):
                return False
            log = node.raft.log
            if log.last_index > log.applied and any(
                entry.kind is EntryKind.MEMBERSHIP
                for entry in log.slice(log.applied + 1, log.last_index, 1 << 62)
            ):
                return False
            voters = node.raft.membership.voters
            if raft_id in voters and len(voters) < 3:
                return False
        return True

    def _partition(self) -> None:
        self.network.partition(sorted(self.nodes))

    def _pause(self) -> None:
        node = self._any_up()
        if node is not None:
            self._paused[node.id] = []
            self.line.at(
                self.chance.randint(5, self.faults.pause_time), partial(self._resume, node.id)
            )

    def _resume(self, raft_id: int) -> None:
        for do in self._paused.pop(raft_id, ()):
            do()

    def _slow_down(self) -> None:
        node = self._any_up()
        if node is not None:
            self._slow.add(node.id)
            self.line.at(self.faults.slow_disk_time, partial(self._slow.discard, node.id))

    def _fill_disk(self) -> None:
        node = self._any_up()
        if node is not None and node.id not in self._full:
            self._full.add(node.id)
            node.raft.electable = False
            node.raft.step_down()
            self._schedule(node)
            self._later(self.faults.disk_full_time, self._room_again, node)

    def _room_again(self, node: SimNode, life: int) -> None:
        if node.id in self._full and node.up and node.life == life:
            self._full.discard(node.id)
            node.raft.electable = True
            if node.writing is not None:
                self._write(node, node.life)

    # -- clients ------------------------------------------------------------------------------

    def _propose(self) -> None:
        node = self._leader()
        if node is None:
            return
        for _ in range(self.chance.choice((1, 1, 1, 4))):
            self._write_to(node)

    def _write_to(self, node: SimNode) -> ClientWrite:
        self._count += 1
        data = b"%d" % self._count
        client = ClientWrite(self.observer, data)
        node.propose(data, client)
        self._schedule(node)
        return client

    def _read(self) -> None:
        self._read_at(self._any_up())

    def _read_at(self, node: SimNode | None) -> ClientRead:
        client = ClientRead(self.observer)
        if node is not None:
            self._count += 1
            self._reads[self._count] = client
            node.raft.read(self._count)
            self._schedule(node)
        return client

    def _transfer(self) -> None:
        node = self._leader()
        if node is not None:
            try:
                node.raft.transfer(self.chance.choice(sorted(self.nodes)))
            except SwarmError:
                return
            self._schedule(node)

    def _change(self) -> None:
        node = self._leader()
        if node is None:
            return
        change: Change
        lost = self.lost & set(node.raft.membership.ids)
        if lost:
            change, raft_id = RemoveMember(min(lost)), min(lost)
        elif self.chance.random() < 0.5 and len(self.nodes) < self.faults.members:
            raft_id = max(self.nodes) + 1
            change = AddMember(Member(raft_id, learner=self.chance.random() < 0.3))
        else:
            raft_id = self.chance.choice(sorted(self.nodes))
            member = node.raft.membership.get(raft_id)
            change = RemoveMember(raft_id)
            if member is not None and member.learner and self.chance.random() < 0.7:
                change = AddMember(Member(raft_id))
            elif len(node.raft.membership.voters) <= self.faults.least:
                return
        try:
            node.raft.propose_change(change)
        except SwarmError:
            return
        if raft_id not in self.nodes:
            self._node(raft_id)
            self._start(raft_id)
        self._schedule(node)

    def _snapshot(self) -> None:
        node = self._any_up()
        if node is not None and node.id not in self._full:
            node.take_snapshot()

    # -- the work of a member --------------------------------------------------------------------

    def _schedule(self, node: SimNode) -> None:
        """A round follows what happens in this moment; as in `manager.raft.runtime`."""
        if not node.due:
            node.due = True
            self.line.soon.append(self._rounds[node.id])

    def _round(self, node: SimNode) -> None:
        """Do what the core asks for, until it asks for nothing."""
        node.due = False
        while node.up:
            ready = node.ready()
            self.observer.look(node)
            if ready is NOTHING:
                return
            for message in ready.messages:
                if message.__class__ is InstallSnapshot:
                    self._send_snapshot(node, message)
                elif not self.network.send(message) and self.chance.random() < 0.1:
                    node.raft.unreachable(message.to)
            for read in ready.reads:
                client = self._reads.pop(read.request, None)
                if client is not None:
                    self.observer.served(node, read, client.floor)
                    node.waiting.for_index(read.index, client)
                    node.waiting.check(node.applied)
            if ready.write is not None:
                slow = node.id in self._slow
                faults = self.faults
                most = faults.slow_write_time if slow else faults.write_time
                self._later(most, self._write, node)
            if not ready.committed:
                return
            if self.chance.random() < self.faults.slow_apply:
                self._later(40, self._apply_later, node)
                return
            self._apply(node)

    def _later(self, most: int, do: Callable[[SimNode, int], None], node: SimNode) -> None:
        delay = 1 + int(self.chance.random() * most)
        self.line.at(delay, partial(self._awake, do, node, node.life))

    def _awake(self, do: Callable[[SimNode, int], None], node: SimNode, life: int) -> None:
        if node.id in self._paused:
            self._paused[node.id].append(partial(self._awake, do, node, life))
        elif node.up and node.life == life:
            do(node, life)

    def _write(self, node: SimNode, life: int) -> None:
        if node.writing is not None and node.id not in self._full:
            node.complete_write()
            self._schedule(node)

    def _apply_later(self, node: SimNode, life: int) -> None:
        self._apply(node)
        self._schedule(node)

    def _apply(self, node: SimNode) -> None:
        chain = node.chain
        entries = node.apply()
        self.observer.applied(node, entries, chain)
        self.commits += len(entries)
        node.answer(entries)

    def _send_snapshot(self, node: SimNode, message: Message) -> None:
        arrived = self.network.send(node.with_data(message))
        self._later(60, partial(self._report, message.to, arrived), node)

    def _report(self, peer: int, arrived: bool, node: SimNode, life: int) -> None:
        node.raft.snapshot_reported(peer, arrived=arrived)
        self._schedule(node)

    def _deliver(self, message: Message) -> None:
        node, blocked = self.nodes.get(message.to), self.network.blocked
        if node is None or not node.up or (blocked and (message.sender, message.to) in blocked):
            return
        if node.id in self._paused:
            self._paused[node.id].append(partial(self._deliver, message))
            return
        node.raft.step(message)
        if not node.due:
            self._schedule(node)
