"""The consensus of one member, without clock, disk or network.

Follows etcd/raft v3 (Ongaro's thesis with pre-vote, check-quorum and ReadIndex). The owner feeds
`step`, `tick` and `propose`, and after each round does what `ready` says:

1. send `messages` at once, in any order; they may get lost;
2. give `write` to the disk and call `written` when it is durable. One write is under way at a time;
   what happens meanwhile shares the next one. Messages that promise something (a vote, an
   acknowledgement) are held back in the write and come out of a later `ready`;
3. apply `committed` in order and call `applied`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from manager.raft.leader import Leader
from manager.raft.log import Log
from manager.raft.membership import Change, Membership, decode_change
from manager.raft.messages import (
    Append,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadRequest,
    SnapshotMeta,
    VoteReply,
    VoteRequest,
)
from manager.raft.reads import Read
from manager.raft.roles import Candidate, Follower
from manager.raft.settings import RaftSettings
from pyswarm.errors import NotLeader

WRITE_BYTES = 4 << 20
"""One write; a single entry may exceed it by its own size."""
APPLY_BYTES = 1 << 20
DISCONNECTED_TICKS = 5
"""Those who lost the connection to the leader ask within as many ticks, but not all at once."""
DISCONNECTED_TRIES = 6
"""So often they ask soon; two that ask at once need a second election, and one seldom a third."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What the disk gave back: the state of one member after a restart."""

    snapshot: SnapshotMeta
    entries: tuple[Entry, ...] = ()
    term: int = 0
    vote: int = 0
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Write:
    """State and entries, durable together or not at all; after them the promises may leave.

    The entries replace what the disk has from the index of the first one on. `commit` is stored
    with them: a member that has a membership change in its log also knows that the one before it
    is committed, and campaigns only after it has applied it.
    """

    term: int
    vote: int
    commit: int
    entries: tuple[Entry, ...] = ()
    snapshot: InstallSnapshot | None = None
    promises: tuple[Message, ...] = ()


class Ready(NamedTuple):
    """What the owner has to do."""

    messages: Sequence[Message] = ()
    write: Write | None = None
    committed: tuple[Entry, ...] = ()
    reads: Sequence[Read] = ()


NOTHING = Ready()


class Raft:
    """One member. `draw(n)` is the supplied source of chance: a number from 0 to n - 1."""

    def __init__(
        self, raft_id: int, settings: RaftSettings, draw: Callable[[int], int], saved: Saved
    ) -> None:
        self.id = raft_id
        self.settings = settings
        self._draw = draw
        self.term = saved.term
        self.vote = saved.vote
        self.log = Log(saved.snapshot, saved.entries, saved.commit)
        self.membership = saved.snapshot.membership
        self.leader_id = 0
        self.elapsed = 0
        self.election_timeout = 0
        self.hurries = 0  # elections that are asked for soon, since the leader is known to be gone
        self.electable = True  # the owner forbids candidacies while its disk is full
        self._messages: list[Message] = []
        self._promises: list[Message] = []
        self._reads: list[Read] = []
        self._install: InstallSnapshot | None = None
        self._handed = (saved.term, saved.vote)  # what the disk has, or is about to have
        self._writing: Write | None = None
        self._applying: tuple[Entry, ...] = ()
        self._stored_commit = self.log.commit
        self._must_store_commit = False
        self.role: Follower | Candidate | Leader = Follower(self)
        self._reset_timeout()

    # -- what the owner asks for ------------------------------------------------------------

    def propose(self, payloads: Sequence[bytes]) -> int:
        """Append payloads to the log, the index of the first; raises NotLeader."""
        return self._leader().propose(payloads)

    def propose_change(self, change: Change) -> int:
        """Append a change of the membership, its index; one at a time."""
        return self._leader().propose_change(change)

    def transfer(self, to: int) -> None:
        """Hand the leadership over."""
        self._leader().transfer(to)

    def read(self, request: int) -> None:
        """Ask for a linearizable index; comes back in `reads`, or is lost like a message."""
        if isinstance(self.role, Leader):
            self.role.read(self.id, request)
        elif self.leader_id:
            self.send(
                ReadRequest(sender=self.id, to=self.leader_id, term=self.term, request=request)
            )

    def step_down(self) -> None:
        """Give up the leadership without a successor."""
        if isinstance(self.role, Leader):
            self.become_follower(self.term, 0)

    def snapshot_reported(self, peer: int, *, arrived: bool) -> None:
        """The way of a snapshot to `peer` has ended."""
        if isinstance(self.role, Leader):
            self.role.snapshot_reported(peer, arrived=arrived)

    def unreachable(self, peer: int) -> None:
        """Messages to `peer` were lost."""
        if isinstance(self.role, Leader):
            self.role.unreachable(peer)

    def compact(self, snapshot: SnapshotMeta) -> None:
        """An own snapshot is durable."""
        self.log.compact(snapshot, self.settings.entries_for_slow_followers)

    @property
    def is_leader(self) -> bool:
        """Whether it leads and has applied the first entry of its term: its state is current."""
        return isinstance(self.role, Leader) and self.log.applied >= self.role.first_index

    def _leader(self) -> Leader:
        if not isinstance(self.role, Leader):
            raise NotLeader
        return self.role

    # -- events -----------------------------------------------------------------------------

    def tick(self) -> None:
        """One tick passes."""
        self.role.tick()

    def disconnected(self, peer: int) -> None:
        """The connection of a member broke, as when its process is killed. Where it was the leader,
        an election is asked for soon, and others are let. Nothing is concluded from it that needs
        to be true: those who still hear the leader refuse, and its next message ends this."""
        if isinstance(self.role, Follower) and peer == self.leader_id:
            self.leader_id = 0
            self.hurries = DISCONNECTED_TRIES
            self._hurry()

    def step(self, message: Message) -> None:
        """A message arrives; anything may arrive late, twice, or never."""
        if message.to != self.id:
            return
        if isinstance(message, VoteReply) and not message.granted:
            self._learn_commit(message)
        if message.term > self.term and not self._newer(message):
            return
        if message.term < self.term:
            self._older(message)
        elif isinstance(message, VoteRequest):
            self._vote(message)
        else:
            self.role.step(message)

    def _newer(self, message: Message) -> bool:
        """A message of a later term; whether to go on with it."""
        if isinstance(message, VoteRequest):
            leased = self.leader_id != 0 and self.elapsed < self.settings.election_ticks
            if leased and not message.transfer:
                return False  # the leader lives: who cannot hear it must not disturb the rest
            if message.pre:
                self._vote(message)
                return False
        if isinstance(message, VoteReply) and message.pre and message.granted:
            # The promise of a vote in the term that this candidate would have.
            if message.term == self.term + 1:
                self.role.step(message)
            return False
        leads = isinstance(message, Append | Heartbeat | InstallSnapshot)
        self.become_follower(message.term, message.sender if leads else 0)
        return True

    def _learn_commit(self, reply: VoteReply) -> None:
        """What is committed stays so in all terms, and the same term means the same entry."""
        if self.log.term(reply.commit_index) == reply.commit_term:
            self.log.commit_to(reply.commit_index)

    def _older(self, message: Message) -> None:
        if isinstance(message, Append | Heartbeat | InstallSnapshot):
            # Tell an old leader that its time is over; with pre-vote nobody else would.
            self.send(HeartbeatReply(sender=self.id, to=message.sender, term=self.term))
        elif isinstance(message, VoteRequest) and message.pre:
            self._refuse(message)

    def _vote(self, request: VoteRequest) -> None:
        log = self.log
        complete = (request.last_term, request.last_index) >= (log.last_term, log.last_index)
        if not complete or not self.may_vote(request):
            self._refuse(request)
            return
        reply = VoteReply(
            sender=self.id, to=request.sender, term=request.term, granted=True, pre=request.pre
        )
        if request.pre:
            self.send(reply)
            return
        self.vote = request.sender
        self.elapsed = 0
        self.promise(reply)

    def may_vote(self, request: VoteRequest) -> bool:
        """One vote in each term; a pre-vote promises nothing."""
        if request.pre and request.term > self.term:
            return True
        return self.vote == request.sender or (self.vote == 0 and self.leader_id == 0)

    def _refuse(self, request: VoteRequest) -> None:
        # Two members, and the leader was just removed: only it knows that this is committed, it
        # can lead no more, and it must not vote for a shorter log. So it tells what is committed.
        self.send(
            VoteReply(
                sender=self.id,
                to=request.sender,
                term=self.term,
                granted=False,
                pre=request.pre,
                commit_index=self.log.commit,
                commit_term=self.log.term(self.log.commit) or 0,
            )
        )

    # -- changes of role --------------------------------------------------------------------

    def _enter(self, term: int) -> None:
        assert term >= self.term, f"term {self.term} cannot go back to {term}"
        if term > self.term:
            self.term = term
            self.vote = 0
            self._promises.clear()  # nobody waits for promises of an older term
        self.elapsed = 0
        self._reset_timeout()
        if self.hurries:
            self._hurry()

    def _hurry(self) -> None:
        """Ask for an election soon, unless a leader is heard: its message sets the time back."""
        self.hurries -= 1
        wait = 2 + self._draw(DISCONNECTED_TICKS)
        self.elapsed = max(self.elapsed, self.election_timeout - wait)

    def _reset_timeout(self) -> None:
        # One tick above the lease, so that the others' lease is over when the first one asks.
        self.election_timeout = (
            self.settings.election_ticks + 1 + self._draw(self.settings.election_ticks)
        )

    def become_follower(self, term: int, leader_id: int) -> None:
        """Follow `leader_id`, or nobody yet."""
        if leader_id:
            self.hurries = 0
        self._enter(term)
        self.leader_id = leader_id
        self.role = Follower(self)

    def campaign(self, *, transfer: bool = False) -> None:
        """Ask for an election, where this member could lead at all."""
        if not self._promotable():
            return
        if transfer:
            self.stand(transfer=True)
            return
        self._enter(self.term)
        self.leader_id = 0
        self._candidacy(pre=True, transfer=False)

    def stand(self, *, transfer: bool) -> None:
        """The real candidacy: a new term, and the own vote in it."""
        self._enter(self.term + 1)
        self.leader_id = 0
        self.vote = self.id
        self._candidacy(pre=False, transfer=transfer)

    def _candidacy(self, *, pre: bool, transfer: bool) -> None:
        candidate = Candidate(self, pre=pre, transfer=transfer)
        self.role = candidate
        candidate.begin()

    def _promotable(self) -> bool:
        if not self.electable or self._install or self.id not in self.membership.voters:
            return False
        if self.log.commit == self.log.applied:
            return True
        # A committed change that is not applied yet would make it count the wrong voters.
        unapplied = self.log.slice(self.log.applied + 1, self.log.commit, 1 << 62)
        return all(entry.kind is not EntryKind.MEMBERSHIP for entry in unapplied)

    def become_leader(self) -> None:
        """A majority voted for this member."""
        self.hurries = 0
        self._enter(self.term)
        self.leader_id = self.id
        self.role = Leader(self)

    # -- output -----------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Queue a message that promises nothing."""
        self._messages.append(message)

    def promise(self, message: Message) -> None:
        """Queue a message that may leave only after what it promises is on disk."""
        self._promises.append(message)

    def serve(self, read: Read) -> None:
        """An own read is linearizable from now on."""
        self._reads.append(read)

    def install(self, message: InstallSnapshot) -> None:
        """Take over a leader's snapshot; it counts as applied once it is on disk."""
        self.log.install(message.snapshot)
        self._install = message
        self._applying = ()

    @property
    def has_work(self) -> bool:
        """Whether `ready` may answer something: most ticks and heartbeats leave nothing to do."""
        log, role = self.log, self.role
        return (
            bool(self._messages or self._promises or self._reads or self._install)
            or log.commit > log.applied
            or log.handed < log.last_index
            or (self.term, self.vote) != self._handed
            or (isinstance(role, Leader) and role.has_work)
        )

    def ready(self) -> Ready:
        """Take the work that is due."""
        if isinstance(self.role, Leader):
            self.role.flush()
        committed = self._next_committed()
        write = None
        if self._writing is None:
            write = self._next_write()
            if write is None and self._promises:
                promises, self._promises = self._promises, []
                self._keep(promises)
                if isinstance(self.role, Leader):
                    self.role.flush()
        if not (self._messages or self._reads or committed) and write is None:
            return NOTHING
        messages, self._messages = self._messages, []
        reads, self._reads = self._reads, []
        return Ready(messages, write, committed, reads)

    def _next_write(self) -> Write | None:
        log = self.log
        entries: tuple[Entry, ...] = ()
        if log.handed < log.last_index:
            entries = log.slice(log.handed + 1, log.last_index, WRITE_BYTES)
            log.handed += len(entries)
        state_is_stored = (self.term, self.vote) == self._handed and not self._must_store_commit
        if not entries and not self._install and state_is_stored:
            return None
        self._must_store_commit = False
        promises: tuple[Message, ...] = ()
        if log.handed == log.last_index:
            promises = tuple(self._promises)
            self._promises.clear()
        self._handed = (self.term, self.vote)
        self._writing = Write(
            self.term,
            self.vote,
            min(log.commit, log.handed),
            entries,
            self._install,
            promises,
        )
        return self._writing

    def written(self, write: Write) -> None:
        """`write` is durable."""
        assert write is self._writing, "a write was reported that was not under way"
        self._writing = None
        self._stored_commit = write.commit
        if write.snapshot is not None and write.snapshot is self._install:
            self._install = None
            self.membership = write.snapshot.snapshot.membership
        if write.entries:
            self.log.written(write.entries[-1].index, write.entries[-1].term)
        if isinstance(self.role, Leader):
            self.role.stable()
        self._keep(write.promises)

    def _keep(self, promises: Sequence[Message]) -> None:
        for message in promises:
            if message.term != self.term:
                continue
            if message.to == self.id:
                self.role.step(message)
            else:
                self._messages.append(message)

    def _next_committed(self) -> tuple[Entry, ...]:
        log = self.log
        if log.commit == log.applied:
            return ()
        last = min(log.commit, log.stable)
        if self._applying or self._install or last <= log.applied:
            return ()
        batch = log.slice(log.applied + 1, last, APPLY_BYTES)
        for place, entry in enumerate(batch):
            if entry.kind is EntryKind.MEMBERSHIP and entry.index > self._stored_commit:
                # The removed member may be switched off as soon as the change is applied. So who
                # applies it must know it after a restart too, or would wait for that one's vote.
                self._must_store_commit = True
                batch = batch[:place]
                break
        self._applying = batch
        return batch

    def applied(self, index: int) -> None:
        """All of the last `committed` was applied; `index` is its last entry's."""
        batch, self._applying = self._applying, ()
        if not batch and index < self.log.applied:
            return  # a snapshot has taken the place of the batch meanwhile
        assert index in {entry.index for entry in batch[-1:]}, f"{index} was not handed out"
        self.log.applied = index
        for entry in batch:
            if entry.kind is EntryKind.MEMBERSHIP:
                self._change(self.membership.changed(decode_change(entry.data)))

    def _change(self, membership: Membership) -> None:
        self.membership = membership
        if isinstance(self.role, Leader):
            self.role.membership_changed(membership)

    def check(self) -> None:
        """Assert the invariants."""
        self.log.check()
        assert self.leader_id != self.id or isinstance(self.role, Leader), self.leader_id
        if isinstance(self.role, Leader):
            for peer, progress in self.role.progress.items():
                assert 0 <= progress.match < progress.next, (peer, progress.match, progress.next)
