"""Members on a bench: every message, write and crash happens when the test says so.

Messages wait in a pool until they are delivered or dropped, writes until `disk`. The observer
looks after each step. `Script` speaks the same in words, for golden files.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from copy import copy

from manager.raft.membership import AddMember, Change, Member, Membership, RemoveMember
from manager.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from manager.raft.settings import RaftSettings
from pyswarm.errors import SwarmError
from pyswarm.testing.raft_node import SimNode
from pyswarm.testing.raft_observer import Observer

SETTINGS = RaftSettings(election_ticks=5, entries_for_slow_followers=0)


class _NoChance(random.Random):
    """Everybody's timeout is the shortest."""

    def randrange(self, *args: int) -> int:  # type: ignore[override]
        """The least."""
        del args
        return 0


class Bench:
    """The voters of a new cluster, not yet with a leader."""

    def __init__(
        self,
        voters: Iterable[int],
        settings: RaftSettings = SETTINGS,
        chance: random.Random | None = None,
    ) -> None:
        self.nodes: dict[int, SimNode] = {}
        self.observer = Observer(self.nodes)
        self.pool: list[Message] = []
        self.holding: set[int] = set()  # members that are slow to apply: they do not at all
        self.served: list[tuple[int, int, int]] = []  # member, request, index
        self._settings = settings
        self._chance = chance or _NoChance()
        self._floors: dict[int, int] = {}
        membership = Membership.of(Member(raft_id) for raft_id in voters)
        for raft_id in membership.ids:
            self.add(raft_id).bootstrap(membership)
            self.start(raft_id)

    def add(self, raft_id: int) -> SimNode:
        """A member with an empty disk, not started."""
        node = self.nodes[raft_id] = SimNode(raft_id, self._settings, self._chance)
        return node

    def start(self, raft_id: int) -> None:
        """Boot."""
        self.nodes[raft_id].start()
        self._ready(raft_id)

    def crash(self, *raft_ids: int) -> None:
        """Lose all that is not on disk."""
        for raft_id in raft_ids:
            self.nodes[raft_id].crash()

    def do(self, raft_id: int, act: Callable[[SimNode], object]) -> None:
        """Let one member act, and take its messages."""
        act(self.nodes[raft_id])
        self._ready(raft_id)

    def tick(self, raft_id: int, count: int = 1) -> None:
        """Time passes for one."""
        for _ in range(count):
            self.do(raft_id, lambda node: node.raft.tick())

    def campaign(self, raft_id: int) -> None:
        """An election's timeout passes for one."""
        self.do(raft_id, lambda node: node.raft.campaign())

    def propose(self, raft_id: int, *payloads: str) -> None:
        """A client writes."""
        data = [payload.encode() for payload in payloads]
        self.do(raft_id, lambda node: node.raft.propose(data))

    def change(self, raft_id: int, change: Change) -> None:
        """A client changes the members."""
        self.do(raft_id, lambda node: node.raft.propose_change(change))

    def read(self, raft_id: int, request: int) -> None:
        """A client reads; checked against what was acknowledged before."""
        self._floors[request] = self.observer.highest
        self.do(raft_id, lambda node: node.raft.read(request))

    def disk(self, *raft_ids: int) -> None:
        """Complete the writes that are under way."""
        for raft_id in raft_ids:
            if self.nodes[raft_id].writing is not None:
                self.do(raft_id, SimNode.complete_write)

    def take(
        self, sender: int = 0, to: int = 0, kind: type[Message] = Message, count: int = 0
    ) -> list[Message]:
        """Remove messages that match from the pool: all, or the first `count`."""
        found = [
            message
            for message in self.pool
            if sender in (0, message.sender) and to in (0, message.to) and isinstance(message, kind)
        ][: count or None]
        self.pool = [message for message in self.pool if all(message is not f for f in found)]
        return found

    def deliver(
        self, sender: int = 0, to: int = 0, kind: type[Message] = Message, count: int = 0
    ) -> list[Message]:
        """Deliver messages that wait and match, in their order; the dead lose theirs."""
        found = self.take(sender, to, kind, count)
        for message in found:
            node = self.nodes.get(message.to)
            if node is not None and node.up:
                node.raft.step(message)
                self._ready(message.to)
        return found

    def settle(self, *raft_ids: int) -> None:
        """Let these members talk and write until nothing is left; others hear nothing."""
        among = raft_ids or tuple(self.nodes)
        for _ in range(1000):
            writing = [i for i in among if self.nodes[i].up and self.nodes[i].writing is not None]
            self.disk(*writing)
            inside = [m for m in self.pool if m.sender in among and m.to in among]
            if not inside and not writing:
                return
            self.pool = [m for m in self.pool if m not in inside]
            for message in inside:
                if self.nodes[message.to].up:
                    self.nodes[message.to].raft.step(message)
                    self._ready(message.to)
        raise AssertionError("the members never come to rest")

    def elect(self, raft_id: int, *others: int) -> None:
        """Make one the leader with the votes of these (of all, if none are named)."""
        for node in self.nodes.values():
            if node.up and not node.leads:
                node.raft.elapsed = self._settings.election_ticks  # their lease is over
        self.campaign(raft_id)
        self.settle(*((raft_id, *others) if others else ()))
        assert self.nodes[raft_id].leads, f"{raft_id} was not elected"

    def _ready(self, raft_id: int) -> None:
        node = self.nodes[raft_id]
        while True:
            self.observer.look(node)
            ready = node.ready()
            self.observer.look(node)
            # Copied as by a wire: the bench tells messages apart by identity.
            self.pool.extend(copy(node.with_data(message)) for message in ready.messages)
            for read in ready.reads:
                self.served.append((raft_id, read.request, read.index))
                self.observer.served(node, read, self._floors.get(read.request, 0))
            if not node.batch or raft_id in self.holding:
                return
            chain = node.chain
            entries = node.apply()
            self.observer.applied(node, entries, chain)
            if node.leads:
                for entry in entries:
                    if entry.kind is EntryKind.NORMAL and entry.term == node.raft.term:
                        self.observer.acknowledge(entry)


def words(message: Message) -> str:
    """One line for a message."""
    return f"{message.sender} > {message.to}  term {message.term}  {_body(message)}"


def _body(message: Message) -> str:
    match message:
        case VoteRequest():
            kind = "pre-vote?" if message.pre else "transfer vote?" if message.transfer else "vote?"
            return f"{kind} last {message.last_index}/{message.last_term}"
        case VoteReply():
            kind = "pre-vote" if message.pre else "vote"
            known = f" committed {message.commit_index}/{message.commit_term}"
            return f"{kind} yes" if message.granted else f"{kind} no{known}"
        case Append():
            entries = " ".join(_entry(entry) for entry in message.entries)
            place = f"behind {message.prev_index}/{message.prev_term} commit {message.commit}"
            return f"append {place} [{entries}]"
        case AppendReply(rejected=True):
            hint = f"hint {message.hint_index}/{message.hint_term}"
            return f"rejected behind {message.index} {hint}"
        case AppendReply():
            return f"has {message.index}"
        case Heartbeat():
            return f"heartbeat commit {message.commit} round {message.context}"
        case HeartbeatReply():
            return f"heard round {message.context}"
        case InstallSnapshot():
            return f"snapshot {message.snapshot.index}/{message.snapshot.term}"
        case TimeoutNow():
            return "take over"
        case ReadRequest():
            return f"read? {message.request}"
        case ReadReply():
            return f"read {message.request} at {message.index}"
    raise AssertionError(f"no words for {message}")


def _entry(entry: Entry) -> str:
    if entry.kind is EntryKind.NOOP:
        return f"{entry.index}/{entry.term} no-op"
    return f"{entry.index}/{entry.term} {entry.data.decode()}"


class Script:
    """The bench for golden files: one command a line."""

    def __init__(self) -> None:
        self.bench = Bench(())

    def answer(self, text: str) -> str:
        """Run the commands; the messages that each one caused, and refusals."""
        lines: list[str] = []
        for line in text.splitlines():
            command, *words_ = line.split()
            before = list(self.bench.pool)
            served = len(self.bench.served)
            try:
                said = getattr(self, f"_{command}")(*words_)
            except SwarmError as error:
                said = f"refused: {error.message}"
            lines += [said] if said else []
            lines += [words(m) for m in self.bench.pool if all(m is not b for b in before)]
            lines += [
                f"{member} may serve read {request} at {index}"
                for member, request, index in self.bench.served[served:]
            ]
        return "\n".join(lines) or "ok"

    def _cluster(self, *ids: str) -> None:
        self.bench = Bench(int(raft_id) for raft_id in ids)

    def _campaign(self, raft_id: str) -> None:
        self.bench.campaign(int(raft_id))

    def _elect(self, *ids: str) -> str:
        self.bench.elect(*map(int, ids))
        self.bench.pool.clear()
        return f"{ids[0]} leads term {self.bench.nodes[int(ids[0])].raft.term}"

    def _tick(self, raft_id: str, count: str = "1") -> None:
        self.bench.tick(int(raft_id), int(count))

    def _disconnect(self, raft_id: str, peer: str) -> None:
        """The connection of `peer` to the member breaks."""
        self.bench.do(int(raft_id), lambda node: node.raft.disconnected(int(peer)))

    def _propose(self, raft_id: str, *payloads: str) -> None:
        self.bench.propose(int(raft_id), *payloads)

    def _add(self, leader: str, raft_id: str, learner: str = "") -> None:
        self.bench.add(int(raft_id))
        self.bench.start(int(raft_id))
        self.bench.change(int(leader), AddMember(Member(int(raft_id), learner=bool(learner))))

    def _promote(self, leader: str, raft_id: str) -> None:
        self.bench.change(int(leader), AddMember(Member(int(raft_id))))

    def _remove(self, leader: str, raft_id: str) -> None:
        self.bench.change(int(leader), RemoveMember(int(raft_id)))

    def _read(self, raft_id: str, request: str) -> None:
        self.bench.read(int(raft_id), int(request))

    def _transfer(self, raft_id: str, to: str) -> None:
        self.bench.do(int(raft_id), lambda node: node.raft.transfer(int(to)))

    def _disk(self, *ids: str) -> None:
        self.bench.disk(*map(int, ids))

    def _deliver(self, sender: str = "0", to: str = "0") -> None:
        """0 for anybody."""
        self.bench.deliver(int(sender), int(to))

    def _drop(self, sender: str = "0", to: str = "0") -> None:
        self.bench.take(int(sender), int(to))

    def _settle(self, *ids: str) -> None:
        self.bench.settle(*map(int, ids))

    def _crash(self, *ids: str) -> None:
        self.bench.crash(*map(int, ids))

    def _start(self, raft_id: str) -> None:
        self.bench.start(int(raft_id))

    def _compact(self, raft_id: str) -> None:
        self.bench.nodes[int(raft_id)].take_snapshot()

    def _arrived(self, raft_id: str, to: str) -> None:
        self.bench.do(int(raft_id), lambda node: node.raft.snapshot_reported(int(to), arrived=True))

    def _log(self, *ids: str) -> str:
        return "\n".join(self._log_of(int(raft_id)) for raft_id in ids)

    def _log_of(self, raft_id: int) -> str:
        raft = self.bench.nodes[raft_id].raft
        log = raft.log
        entries = ""
        if log.last_index > log.base_index:
            found = log.slice(log.base_index + 1, log.last_index, 1 << 30)
            entries = " ".join(_entry(entry) for entry in found)
        return (
            f"{raft_id} {raft.role.name} term {raft.term} base {log.base_index} [{entries}] "
            f"stable {log.stable} commit {log.commit} applied {log.applied} "
            f"voters {' '.join(map(str, raft.membership.voters))}"
        )
