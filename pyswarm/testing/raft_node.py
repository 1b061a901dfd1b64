"""One simulated member: a real core, a disk that forgets what was not synced, a small state.

And the observer, who sees all members and asserts after each step what consensus promises.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from zlib import crc32

from manager.raft import quorum
from manager.raft.core import Raft, Ready, Saved, Write
from manager.raft.leader import Leader
from manager.raft.membership import Membership
from manager.raft.messages import Entry, EntryKind, InstallSnapshot, Message, SnapshotMeta
from manager.raft.reads import Read
from manager.raft.settings import RaftSettings


class Violation(AssertionError):
    """A promise of consensus was broken."""


def chained(chain: int, entry: Entry) -> int:
    """A digest of everything applied up to `entry`."""
    return crc32(b"%d %d %d " % (chain, entry.index, entry.term) + entry.data)


@dataclass(slots=True)
class SimDisk:
    """What is durable. A write arrives whole or not at all, as in the real WAL."""

    snapshot: SnapshotMeta = field(default_factory=SnapshotMeta)
    chain: int = 0  # the snapshot's data: the digest at its index
    entries: list[Entry] = field(default_factory=list)
    term: int = 0
    vote: int = 0
    commit: int = 0

    def write(self, write: Write) -> None:
        """All of `write` becomes durable."""
        if write.snapshot is not None:
            self.snapshot = write.snapshot.snapshot
            self.chain = int(write.snapshot.data)
            self.entries.clear()
        self.term, self.vote, self.commit = write.term, write.vote, write.commit
        if write.entries:
            first = write.entries[0].index
            while self.entries and self.entries[-1].index >= first:
                self.entries.pop()
            last = self.entries[-1].index if self.entries else self.snapshot.index
            if first > last + 1:
                raise Violation(f"the disk has entries up to {last}, the write begins at {first}")
            self.entries.extend(write.entries)

    def save_snapshot(self, snapshot: SnapshotMeta, chain: int, keep: int) -> None:
        """An own snapshot, and what it replaces goes."""
        self.snapshot, self.chain = snapshot, chain
        self.entries = [e for e in self.entries if e.index > snapshot.index - keep]

    def has(self, index: int, term: int) -> bool:
        """Whether the entry would survive a crash."""
        if index <= self.snapshot.index:
            return True
        if not self.entries or not self.entries[0].index <= index <= self.entries[-1].index:
            return False
        return self.entries[index - self.entries[0].index].term == term

    def saved(self) -> Saved:
        """What a restart finds."""
        return Saved(self.snapshot, tuple(self.entries), self.term, self.vote, self.commit)


class SimNode:
    """One member. `start` after a crash loses everything but the disk."""

    def __init__(self, raft_id: int, settings: RaftSettings, chance: random.Random) -> None:
        self.id = raft_id
        self.settings = settings
        self.disk = SimDisk()
        self.life = 0  # counts starts, so that events of an earlier life can be told
        self.up = False
        self.writing: Write | None = None
        self.applied = 0
        self.chain = 0
        self.seen_commit = 0
        self.seen_term = 0
        self.batch: tuple[Entry, ...] = ()
        self._chance = chance
        self.raft: Raft

    def bootstrap(self, membership: Membership) -> None:
        """The disk of a new cluster's member."""
        self.disk = SimDisk(SnapshotMeta(1, 1, membership), 0, [], 1, 0, 1)

    def start(self) -> None:
        """Boot from the disk."""
        self.life += 1
        self.up = True
        self.writing = None
        self.batch = ()
        saved = self.disk.saved()
        self.raft = Raft(self.id, self.settings, self._chance.randrange, saved)
        self.applied = self.seen_commit = saved.snapshot.index
        self.chain = self.disk.chain

    def crash(self, *, write_arrived: bool = False) -> None:
        """Lose what is not durable; a write under way may just have made it."""
        if write_arrived and self.writing is not None:
            self.disk.write(self.writing)
        self.writing = None
        self.up = False

    def ready(self) -> Ready:
        """The work that is due; a write starts, what is committed waits in `batch`."""
        ready = self.raft.ready()
        if ready.write is not None:
            self.writing = ready.write
        if ready.committed:
            self.batch = ready.committed
        return ready

    def complete_write(self) -> None:
        """The write under way is durable."""
        write = self.writing
        assert write is not None, "no write is under way"
        self.writing = None
        self.disk.write(write)
        self.raft.written(write)
        if write.snapshot is not None:
            self.batch = ()
            self.applied = write.snapshot.snapshot.index
            self.chain = int(write.snapshot.data)
            self.seen_commit = max(self.seen_commit, self.applied)

    def apply(self) -> list[Entry]:
        """Apply the batch that waits."""
        batch, self.batch = self.batch, ()
        for entry in batch:
            assert entry.index == self.applied + 1, (entry.index, self.applied)
            self.applied = entry.index
            self.chain = chained(self.chain, entry)
        if batch:
            self.raft.applied(self.applied)
        return list(batch)

    def take_snapshot(self) -> None:
        """Compact; the file is durable at once."""
        term = self.raft.log.term(self.applied)
        if self.batch or term is None or self.applied <= self.disk.snapshot.index:
            return
        meta = SnapshotMeta(self.applied, term, self.raft.membership)
        self.disk.save_snapshot(meta, self.chain, self.settings.entries_for_slow_followers)
        self.raft.compact(meta)

    def with_data(self, message: Message) -> Message:
        """A snapshot leaves with the data of the newest file."""
        if isinstance(message, InstallSnapshot):
            return replace(message, snapshot=self.disk.snapshot, data=str(self.disk.chain).encode())
        return message

    @property
    def leads(self) -> bool:
        """Whether it believes to lead."""
        return self.up and isinstance(self.raft.role, Leader)


class Observer:
    """Remembers what any member has promised, and holds the others to it."""

    def __init__(self, nodes: dict[int, SimNode]) -> None:
        self._nodes = nodes
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, tuple[int, int]] = {}  # index -> term, term when first seen
        self.history: dict[int, int] = {}  # index -> digest
        self.acknowledged: dict[int, bytes] = {}
        self.highest = 0  # acknowledged index

    def look(self, node: SimNode) -> None:
        """Check one member after something happened to it."""
        raft = node.raft
        raft.check()
        if raft.term < node.seen_term and raft.term < node.disk.term:
            raise Violation(f"the term of {node.id} went back from {node.seen_term}")
        node.seen_term = raft.term
        if isinstance(raft.role, Leader):
            self._one_leader(node)
        if raft.log.commit > node.seen_commit:
            self._commits(node)
        self._applied(node)

    def _one_leader(self, node: SimNode) -> None:
        raft = node.raft
        known = self.leaders.get(raft.term)
        if known == node.id:
            return
        if known is not None:
            raise Violation(f"two leaders in term {raft.term}: {known} and {node.id}")
        self.leaders[raft.term] = node.id
        log = raft.log
        for index, (term, seen) in self.committed.items():
            if index <= log.base_index or seen >= raft.term:
                continue
            if log.term(index) != term:
                raise Violation(
                    f"leader {node.id} of term {raft.term} lacks committed entry {index} of {term}"
                )

    def _commits(self, node: SimNode) -> None:
        raft = node.raft
        for index in range(node.seen_commit + 1, raft.log.commit + 1):
            term = raft.log.term(index)
            if term is None:
                continue  # a snapshot took its place; the digest tells whether it is the same
            known = self.committed.setdefault(index, (term, raft.term))
            if known[0] != term:
                raise Violation(f"entry {index} is committed with terms {known[0]} and {term}")
        node.seen_commit = raft.log.commit
        if isinstance(raft.role, Leader):
            self._durable(node)

    def _durable(self, node: SimNode) -> None:
        """What a leader calls committed survives the crash of everyone."""
        index = node.raft.log.commit
        term = node.raft.log.term(index)
        assert term is not None, "a leader has what it commits"
        voters = node.raft.membership.voters
        kept = [voter for voter in voters if self._nodes[voter].disk.has(index, term)]
        if len(kept) < quorum.majority(len(voters)):
            raise Violation(
                f"leader {node.id} committed entry {index}, but of the voters {voters} only "
                f"{kept} have it on disk"
            )

    def _applied(self, node: SimNode) -> None:
        if node.applied and self.history.setdefault(node.applied, node.chain) != node.chain:
            raise Violation(f"{node.id} has another state at {node.applied} than others had")

    def applied(self, node: SimNode, entries: list[Entry], chain: int) -> None:
        """Check each step of a batch."""
        for entry in entries:
            chain = chained(chain, entry)
            if self.history.setdefault(entry.index, chain) != chain:
                raise Violation(f"{node.id} applied another entry {entry.index} than others did")

    def acknowledge(self, entry: Entry) -> None:
        """A client was told that `entry` is done."""
        assert entry.kind is EntryKind.NORMAL, entry
        self.acknowledged[entry.index] = entry.data
        self.highest = max(self.highest, entry.index)

    def served(self, node: SimNode, read: Read, floor: int) -> None:
        """A read was allowed at its index; `floor` was acknowledged before it was asked."""
        if read.index < floor:
            raise Violation(f"{node.id} serves a read at {read.index}, but {floor} was done before")
