"""One simulated member: a real core, a disk that forgets what was not synced, a small state."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from zlib import crc32

from manager.raft.core import Raft, Ready, Saved, Write
from manager.raft.leader import Leader
from manager.raft.membership import Membership
from manager.raft.messages import Entry, InstallSnapshot, Message, SnapshotMeta
from manager.raft.pending import Proposals, Waiter, Waiting
from manager.raft.settings import RaftSettings
from pyswarm.errors import SwarmError


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

    def create(self, snapshot: SnapshotMeta) -> None:
        """The disk of a new cluster's member."""
        self.snapshot, self.term, self.commit = snapshot, snapshot.term, snapshot.index

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
        if self.entries:
            del self.entries[: max(0, snapshot.index - keep + 1 - self.entries[0].index)]

    def has(self, index: int, term: int) -> bool:
        """Whether the entry would survive a crash."""
        return index <= self.snapshot.index or self.knows(index, term)

    def knows(self, index: int, term: int) -> bool:
        """Whether the entry itself is there."""
        if not self.entries or not self.entries[0].index <= index <= self.entries[-1].index:
            return False
        return self.entries[index - self.entries[0].index].term == term

    def saved(self) -> Saved:
        """What a restart finds."""
        return Saved(self.snapshot, tuple(self.entries), self.term, self.vote, self.commit)

    def remove_segments(self, base_index: int) -> None:
        """What the log begins behind may go."""

    def newest_snapshot(self) -> tuple[SnapshotMeta, bytes]:
        """For a member that is far behind."""
        return self.snapshot, b"%d" % self.chain

    def crash(self, writing: Write | None, *, arrives: bool) -> None:
        """The end of a life; a write under way may just have made it."""
        if arrives and writing is not None:
            self.write(writing)


class SimNode:
    """One member. `start` after a crash loses everything but the disk."""

    def __init__(
        self,
        raft_id: int,
        settings: RaftSettings,
        chance: random.Random,
        disk: SimDisk | None = None,
    ) -> None:
        self.id = raft_id
        self.settings = settings
        self.disk = disk or SimDisk()
        self.life = 0  # counts starts, so that events of an earlier life can be told
        self.up = False
        self.writing: Write | None = None
        self.applied = 0
        self.chain = 0
        self.seen_commit = 0
        self.seen_term = 0
        self.seen: tuple[object, ...] = ()  # marks of the last look of the observer
        self.matches: dict[int, int] = {}  # peer -> match, in the present leadership
        self.batch: tuple[Entry, ...] = ()
        self.due = False  # a round is planned
        self.proposals = Proposals()
        self.waiting = Waiting()
        self._chance = chance
        self.raft: Raft

    def bootstrap(self, membership: Membership) -> None:
        """The disk of a new cluster's member."""
        self.disk.create(SnapshotMeta(1, 1, membership))

    def start(self) -> None:
        """Boot from the disk; raises DataLoss where it is damaged."""
        saved = self.disk.saved()
        self.life += 1
        self.up = True
        self.writing = None
        self.batch = ()
        self.proposals, self.waiting = Proposals(), Waiting()
        self.raft = Raft(self.id, self.settings, self._chance.randrange, saved)
        self.applied = self.seen_commit = saved.snapshot.index
        self.chain = self.disk.chain
        self.seen, self.matches = (), {}

    def crash(self, *, write_arrived: bool = False) -> None:
        """Lose what is not durable; a write under way may just have made it."""
        self.disk.crash(self.writing, arrives=write_arrived)
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
            self.disk.remove_segments(self.applied)
            self.proposals.skipped(self.applied)
            self.waiting.check(self.applied)

    def propose(self, data: bytes, waiter: Waiter) -> None:
        """A client's write, on its way or refused; as in `manager.raft.runtime`."""
        self.proposals.add(data, waiter, 0.0)
        batch = self.proposals.take()
        try:
            first = self.raft.propose([data])
        except SwarmError as error:
            self.proposals.refused(batch, error)
        else:
            self.proposals.appended(first, self.raft.term, batch)

    def apply(self) -> list[Entry]:
        """Apply the batch that waits."""
        batch, self.batch = self.batch, ()
        for entry in batch:
            if entry.index != self.applied + 1:
                raise Violation(f"{self.id} applies entry {entry.index} behind {self.applied}")
            self.applied = entry.index
            self.chain = chained(self.chain, entry)
        if batch:
            self.raft.applied(self.applied)
        return list(batch)

    def answer(self, entries: list[Entry]) -> None:
        """Tell the clients that wait for what was applied; as in `manager.raft.runtime`."""
        for entry in entries:
            self.proposals.applied(entry)
        self.waiting.check(self.applied)

    def take_snapshot(self) -> None:
        """Compact; the file is durable at once."""
        term = self.raft.log.term(self.applied)
        if self.batch or term is None or self.applied <= self.disk.snapshot.index:
            return
        meta = SnapshotMeta(self.applied, term, self.raft.membership)
        self.disk.save_snapshot(meta, self.chain, self.settings.entries_for_slow_followers)
        self.raft.compact(meta)
        self.disk.remove_segments(self.raft.log.base_index)

    def with_data(self, message: Message) -> Message:
        """A snapshot leaves with the data of the newest file."""
        if isinstance(message, InstallSnapshot):
            snapshot, data = self.disk.newest_snapshot()
            return replace(message, snapshot=snapshot, data=data)
        return message

    @property
    def leads(self) -> bool:
        """Whether it believes to lead."""
        return self.up and isinstance(self.raft.role, Leader)
