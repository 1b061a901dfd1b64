"""Random faults against the core, in virtual time; a seed repeats a run exactly.

python -m pyswarm.testing.raft_sim 17        # one seed, and how it ended
python -m pyswarm.testing.raft_sim 0 1000    # a range
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

from manager.raft.membership import AddMember, Change, Member, Membership, RemoveMember
from manager.raft.messages import Entry, EntryKind, InstallSnapshot, Message
from manager.raft.settings import RaftSettings
from pyswarm.errors import SwarmError
from pyswarm.testing.raft_node import Observer, SimNode, Violation

TICK = 10  # one tick in units of virtual time
CONVERGE_TIME = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What may go wrong. Chances are per message or per unit of time; times in units."""

    time: int = 2500
    drop: float = 0.04
    duplicate: float = 0.05
    delay: int = 6
    late: float = 0.03  # a message that takes up to `late_delay`: it arrives after later ones
    late_delay: int = 300
    write_time: int = 12
    crash: float = 0.002
    write_arrives: float = 0.3  # of a write that was under way at a crash
    down_time: int = 250
    partition: float = 0.002
    partition_time: int = 400
    disk_full: float = 0.0006
    disk_full_time: int = 250
    slow_apply: float = 0.1
    proposal: float = 0.12
    read: float = 0.03
    transfer: float = 0.0015
    change: float = 0.003
    snapshot: float = 0.01
    members: int = 7


class Simulation:
    """N members, a network and a disk each, and clients that write and read."""

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        self.chance = random.Random(seed)
        self.faults = faults or Faults()
        self.settings = RaftSettings(
            election_ticks=5,
            entries_for_slow_followers=self.chance.choice((0, 3, 10)),
            append_bytes=self.chance.choice((1, 100, 1 << 20)),
            inflight_messages=self.chance.choice((2, 4, 256)),
        )
        self.now = 0
        self.nodes: dict[int, SimNode] = {}
        self.observer = Observer(self.nodes)
        self.commits = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._blocked: set[tuple[int, int]] = set()
        self._full: set[int] = set()
        self._calm = False
        self._proposed: dict[tuple[int, int, int], int] = {}  # (node, life, index) -> term
        self._reads: dict[int, int] = {}  # request -> what was acknowledged before
        self._count = 0
        first = range(1, self.chance.choice((1, 3, 3, 5)) + 1)
        membership = Membership.of(Member(raft_id) for raft_id in first)
        for raft_id in first:
            self._node(raft_id).bootstrap(membership)
        for raft_id in first:
            self._start(raft_id)

    def _node(self, raft_id: int) -> SimNode:
        node = self.nodes[raft_id] = SimNode(raft_id, self.settings, self.chance)
        return node

    def _at(self, delay: int, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + delay, self._order, do))

    # -- the world ----------------------------------------------------------------------------

    def run(self) -> None:
        """Faults for a while, then calm; all members must end with the same state."""
        while self.now < self.faults.time:
            self._disturb()
            self._advance(self.now + 1)
        self._heal()
        end = self.now + CONVERGE_TIME
        while not self._converged():
            if self.now > end:
                raise Violation(f"no convergence after the faults: {self._describe()}")
            if self.chance.random() < 0.02:
                self._propose()
            self._advance(self.now + 1)
        for index, data in self.observer.acknowledged.items():
            if index not in self.observer.history:
                raise Violation(f"acknowledged entry {index} ({data!r}) was lost")

    def _advance(self, time: int) -> None:
        while self._events and self._events[0][0] <= time:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = time

    def _heal(self) -> None:
        self._calm = True
        self._blocked.clear()
        for raft_id in list(self._full):
            self._room_again(self.nodes[raft_id], self.nodes[raft_id].life)
        for raft_id, node in self.nodes.items():
            if not node.up:
                self._start(raft_id)

    def _converged(self) -> bool:
        leading = [node for node in self.nodes.values() if node.leads and node.raft.is_leader]
        if not leading:
            return False
        leader = max(leading, key=lambda node: node.raft.term)
        last = leader.raft.log.last_index
        members = [self.nodes[raft_id] for raft_id in leader.raft.membership.ids]
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

    def _disturb(self) -> None:
        chance, faults = self.chance.random, self.faults
        for rate, do in (
            (faults.proposal, self._propose),
            (faults.read, self._read),
            (faults.crash, self._crash),
            (faults.partition, self._partition),
            (faults.disk_full, self._fill_disk),
            (faults.transfer, self._transfer),
            (faults.change, self._change),
            (faults.snapshot, self._snapshot),
        ):
            if chance() < rate:
                do()

    def _any_up(self) -> SimNode | None:
        up = [node for node in self.nodes.values() if node.up]
        return self.chance.choice(up) if up else None

    def _leader(self) -> SimNode | None:
        leading = [node for node in self.nodes.values() if node.leads]
        return self.chance.choice(leading) if leading else None

    def _start(self, raft_id: int) -> None:
        node = self.nodes[raft_id]
        if node.up:
            return
        node.start()
        self.observer.look(node)
        self._tick(node, node.life)

    def _tick(self, node: SimNode, life: int) -> None:
        if node.up and node.life == life:
            node.raft.tick()
            self._settle(node)
            late = self.chance.random() < 0.005 and not self._calm
            self._at(
                TICK * 8 if late else self.chance.randint(8, 12), lambda: self._tick(node, life)
            )

    def _crash(self) -> None:
        node = self._any_up()
        if node is not None:
            node.crash(write_arrived=self.chance.random() < self.faults.write_arrives)
            self._full.discard(node.id)
            delay = self.chance.randint(1, self.faults.down_time)
            self._at(delay, lambda: self._start(node.id))

    def _partition(self) -> None:
        ids = sorted(self.nodes)
        kind = self.chance.choice(("halves", "one", "one way"))
        some = {self.chance.choice(ids)}
        if kind == "halves":
            some = set(self.chance.sample(ids, len(ids) // 2))
        pairs = {(a, b) for a in ids for b in ids if (a in some) and (b not in some)}
        if kind != "one way":
            pairs |= {(b, a) for a, b in pairs}
        self._blocked |= pairs
        delay = self.chance.randint(50, self.faults.partition_time)
        self._at(delay, lambda: self._blocked.difference_update(pairs))

    def _fill_disk(self) -> None:
        node = self._any_up()
        if node is not None and node.id not in self._full:
            self._full.add(node.id)
            node.raft.electable = False
            node.raft.step_down()
            self._settle(node)
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
        payloads = []
        for _ in range(self.chance.choice((1, 1, 1, 4))):
            self._count += 1
            payloads.append(b"%d" % self._count)
        try:
            first = node.raft.propose(payloads)
        except SwarmError:
            return
        for index in range(first, first + len(payloads)):
            self._proposed[node.id, node.life, index] = node.raft.term
        self._settle(node)

    def _read(self) -> None:
        node = self._any_up()
        if node is not None:
            self._count += 1
            self._reads[self._count] = self.observer.highest
            node.raft.read(self._count)
            self._settle(node)

    def _transfer(self) -> None:
        node = self._leader()
        if node is not None:
            try:
                node.raft.transfer(self.chance.choice(sorted(self.nodes)))
            except SwarmError:
                return
            self._settle(node)

    def _change(self) -> None:
        node = self._leader()
        if node is None:
            return
        change: Change
        if self.chance.random() < 0.5 and len(self.nodes) < self.faults.members:
            raft_id = max(self.nodes) + 1
            change = AddMember(Member(raft_id, learner=self.chance.random() < 0.3))
        else:
            raft_id = self.chance.choice(sorted(self.nodes))
            member = node.raft.membership.get(raft_id)
            change = RemoveMember(raft_id)
            if member is not None and member.learner and self.chance.random() < 0.7:
                change = AddMember(Member(raft_id))
        try:
            node.raft.propose_change(change)
        except SwarmError:
            return
        if raft_id not in self.nodes:
            self._node(raft_id)
            self._start(raft_id)
        self._settle(node)

    def _snapshot(self) -> None:
        node = self._any_up()
        if node is not None and node.id not in self._full:
            node.take_snapshot()

    # -- the work of a member --------------------------------------------------------------------

    def _settle(self, node: SimNode) -> None:
        """Do what the core asks for, until it asks for nothing."""
        while node.up:
            was_writing, had_batch = node.writing, bool(node.batch)
            self.observer.look(node)
            ready = node.ready()
            self.observer.look(node)
            for message in ready.messages:
                self._send(node, node.with_data(message))
            for read in ready.reads:
                floor = self._reads.pop(read.request, None)
                if floor is not None:
                    self.observer.served(node, read, floor)
            if node.writing is not None and was_writing is None:
                self._later(self.faults.write_time, self._write, node)
            if not node.batch or had_batch:
                return
            if self.chance.random() < self.faults.slow_apply:
                self._later(40, self._apply_later, node)
                return
            self._apply(node, node.life)

    def _later(self, most: int, do: Callable[[SimNode, int], None], node: SimNode) -> None:
        life = node.life
        self._at(self.chance.randint(1, most), lambda: do(node, life))

    def _write(self, node: SimNode, life: int) -> None:
        if node.up and node.life == life and node.writing is not None and node.id not in self._full:
            node.complete_write()
            self._settle(node)

    def _apply_later(self, node: SimNode, life: int) -> None:
        if node.up and node.life == life:
            self._apply(node, life)
            self._settle(node)

    def _apply(self, node: SimNode, life: int) -> None:
        chain = node.chain
        entries = node.apply()
        self.observer.applied(node, entries, chain)
        self.commits += len(entries)
        for entry in entries:
            self._answer(node, life, entry)

    def _answer(self, node: SimNode, life: int, entry: Entry) -> None:
        term = self._proposed.pop((node.id, life, entry.index), None)
        if term == entry.term and entry.kind is EntryKind.NORMAL:
            self.observer.acknowledge(entry)

    def _send(self, node: SimNode, message: Message) -> None:
        faults, chance = self.faults, self.chance
        lost = (message.sender, message.to) in self._blocked or (
            not self._calm and chance.random() < faults.drop
        )
        life = node.life
        if isinstance(message, InstallSnapshot):
            self._at(chance.randint(1, 60), lambda: self._report(node, life, message.to, not lost))
        if lost:
            if chance.random() < 0.1:
                node.raft.unreachable(message.to)
            return
        copies = 2 if not self._calm and chance.random() < faults.duplicate else 1
        for _ in range(copies):
            delay = chance.randint(1, faults.delay)
            if not self._calm and chance.random() < faults.late:
                delay = chance.randint(1, faults.late_delay)
            self._at(delay, lambda: self._deliver(message))

    def _report(self, node: SimNode, life: int, peer: int, arrived: bool) -> None:
        if node.up and node.life == life:
            node.raft.snapshot_reported(peer, arrived=arrived)
            self._settle(node)

    def _deliver(self, message: Message) -> None:
        node = self.nodes.get(message.to)
        if node is not None and node.up and (message.sender, message.to) not in self._blocked:
            node.raft.step(message)
            self._settle(node)


def run_seed(seed: int, faults: Faults | None = None) -> Simulation:
    """Run one seed; a failure says how to repeat it."""
    simulation = Simulation(seed, faults)
    try:
        simulation.run()
    except Exception as error:
        raise Violation(
            f"{error}\nrepeat with: python -m pyswarm.testing.raft_sim {seed}   "
            f"(at time {simulation.now})"
        ) from error
    return simulation


def main() -> None:
    """Run the seeds of the command line."""
    first = int(sys.argv[1])
    last = int(sys.argv[2]) if len(sys.argv) > 2 else first
    commits = elections = 0
    for seed in range(first, last + 1):
        simulation = run_seed(seed)
        commits += simulation.commits
        elections += len(simulation.observer.leaders)
    print(f"{last - first + 1} seeds, {commits} entries applied, {elections} leaders: no violation")


if __name__ == "__main__":
    main()
