"""The leader: appends, replicates, commits what a majority has, and notices when it is alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from manager.raft import quorum
from manager.raft.membership import Change, Membership, RemoveMember, encode_change
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
)
from manager.raft.progress import Progress, ProgressState
from manager.raft.reads import Reads
from pyswarm.errors import FailedPrecondition, NotFound, NotLeader, Unavailable

if TYPE_CHECKING:
    from manager.raft.core import Raft


_heartbeat = lru_cache(64)(Heartbeat)  # most are those of the tick before


class Leader:
    """One term of leadership. Messages leave in `flush`, at most a few for each peer a round."""

    name = "leader"

    def __init__(self, raft: Raft) -> None:
        self._raft = raft
        next_index = raft.log.last_index + 1
        self.progress = {
            peer: Progress(raft.settings, next_index)
            for peer in raft.membership.ids
            if peer != raft.id
        }
        self.match = 0
        self.first_index = next_index  # of the no-op
        self.transferee = 0
        self._transfer_told = False
        self._heartbeat_elapsed = 0
        # A change of an older term may wait in the log, so no new one before all that is applied.
        self._pending_change = raft.log.last_index
        self._reads = Reads(raft.settings.reads)
        self._append(EntryKind.NOOP, [b""])
        self._beat()

    # -- what the owner asks for ------------------------------------------------------------

    def propose(self, payloads: Sequence[bytes]) -> int:
        """Append payloads; the index of the first."""
        if self.transferee:
            raise NotLeader("the leadership is being handed over: try again in a second")
        return self._append(EntryKind.NORMAL, payloads)

    def propose_change(self, change: Change) -> int:
        """Append a change of the membership; its index."""
        raft = self._raft
        if self.transferee:
            raise Unavailable("the leadership is being handed over: try again in a second")
        if self._pending_change > raft.log.applied or not self.has_committed:
            raise Unavailable("another change of the managers is under way: try again in a second")
        raft.membership.refusal(change)
        if isinstance(change, RemoveMember) and change.raft_id == raft.id:
            raise FailedPrecondition(
                "a leader cannot remove itself: hand the leadership over to another manager first"
            )
        self._pending_change = self._append(EntryKind.MEMBERSHIP, [encode_change(change)])
        return self._pending_change

    def transfer(self, to: int) -> None:
        """Hand over to `to` as soon as its log is complete, or give up after an election's time."""
        raft = self._raft
        if to not in raft.membership.voters or to == raft.id:
            raise NotFound(f"raft member {to:x} is not another voting manager of this cluster")
        if self.transferee and self.transferee != to:
            raise FailedPrecondition("the leadership is being handed over to another manager")
        if not self.transferee:
            self.transferee, self._transfer_told, raft.elapsed = to, False, 0

    def read(self, origin: int, request: int) -> None:
        """Ask for a linearizable index."""
        self._reads.ask(origin, request)

    @property
    def has_committed(self) -> bool:
        """Whether an entry of this term is committed: from then on the commit index is current."""
        return self._raft.log.commit >= self.first_index

    def _append(self, kind: EntryKind, payloads: Sequence[bytes]) -> int:
        first, term = self._raft.log.last_index + 1, self._raft.term
        self._raft.log.extend(
            [Entry(index, term, kind, data) for index, data in enumerate(payloads, first)]
        )
        return first

    # -- events -----------------------------------------------------------------------------

    def tick(self) -> None:
        """Time passes: heartbeats, and now and then the question who still answers."""
        raft = self._raft
        raft.elapsed += 1
        self._heartbeat_elapsed += 1
        for progress in self.progress.values():
            progress.silent_ticks += 1
        if raft.elapsed >= raft.settings.election_ticks:
            raft.elapsed = 0
            self.transferee = 0
            if not self._quorum_is_active():
                raft.become_follower(raft.term, 0)
                return
        if self._heartbeat_elapsed >= raft.settings.heartbeat_ticks:
            self._beat()

    def _quorum_is_active(self) -> bool:
        voters = self._raft.membership.voters
        heard = sum(voter == self._raft.id or self.progress[voter].active for voter in voters)
        return heard >= quorum.majority(len(voters))

    def step(self, message: Message) -> None:
        """A message of this term."""
        if isinstance(message, ReadRequest):
            self.read(message.sender, message.request)
            return
        progress = self.progress.get(message.sender)
        if progress is None:
            return
        progress.silent_ticks = 0
        progress.replied = True
        if isinstance(message, AppendReply):
            if message.rejected:
                self._rejected(progress, message)
            elif message.index <= self._raft.log.last_index:
                self._accepted(progress, message)
        elif isinstance(message, HeartbeatReply):
            progress.heard_heartbeat()
            if progress.match < self._raft.log.last_index or progress.state is ProgressState.PROBE:
                progress.nudged = True
            self._reads.heard(message.sender, message.context)

    def _rejected(self, progress: Progress, message: AppendReply) -> None:
        if progress.state is ProgressState.SNAPSHOT:
            return
        next_probe = message.hint_index
        if message.hint_term:
            next_probe, _ = self._raft.log.agree_hint(message.hint_index, message.hint_term)
        was_replicating = progress.state is ProgressState.REPLICATE
        if progress.rejected(message.index, next_probe) and was_replicating:
            progress.probe()

    def _accepted(self, progress: Progress, message: AppendReply) -> None:
        probing = progress.state is ProgressState.PROBE
        moved = progress.accepted(message.index)
        if not moved and not (probing and message.index == progress.match):
            return
        caught_up = (
            progress.state is ProgressState.SNAPSHOT and progress.match >= self._raft.log.base_index
        )
        if probing or caught_up:
            progress.replicate()
        if moved:
            self.maybe_commit()

    def stable(self) -> None:
        """The own disk has more: only now it counts."""
        self.match = self._raft.log.stable
        self.maybe_commit()

    def maybe_commit(self) -> None:
        """Commit what a majority has, if it is of this term (Raft paper, figure 8)."""
        raft = self._raft
        index = quorum.reached(self._matched(voter) for voter in raft.membership.voters)
        if index > raft.log.commit and self.may_commit(index):
            raft.log.commit_to(index)

    def may_commit(self, index: int) -> bool:
        """Whether counting replicas of `index` proves that it cannot be lost any more."""
        return self._raft.log.term(index) == self._raft.term

    def _matched(self, voter: int) -> int:
        return self.match if voter == self._raft.id else self.progress[voter].match

    def membership_changed(self, new: Membership) -> None:
        """A change was applied: begin with the new member, tell the removed one goodbye."""
        raft = self._raft
        for peer in sorted(self.progress.keys() - set(new.ids)):
            # The best effort to let it apply its own removal; nobody waits for it.
            progress = self.progress.pop(peer)
            if raft.log.term(progress.next - 1) is not None:
                self._send_append(peer, progress, with_entries=True)
        for peer in new.ids:
            if peer != raft.id and peer not in self.progress:
                self.progress[peer] = Progress(raft.settings, raft.log.last_index + 1)
        if self.transferee not in new.voters:
            self.transferee = 0
        if raft.id not in new.voters:
            # An older leader had asked for it; `propose_change` lets no leader remove itself.
            self._beat()
            raft.become_follower(raft.term, 0)
            return
        self.maybe_commit()

    def snapshot_reported(self, peer: int, *, arrived: bool) -> None:
        """The end of a snapshot's way to `peer`."""
        progress = self.progress.get(peer)
        if progress is None or progress.state is not ProgressState.SNAPSHOT:
            return
        if arrived:
            progress.probe()
            progress.paused = True
        else:
            progress.snapshot_failed()

    def unreachable(self, peer: int) -> None:
        """Messages to `peer` were lost: go back to asking."""
        progress = self.progress.get(peer)
        if progress is not None and progress.state is ProgressState.REPLICATE:
            progress.probe()

    # -- messages ---------------------------------------------------------------------------

    def _beat(self) -> None:
        raft = self._raft
        self._heartbeat_elapsed = 0
        for peer, progress in self.progress.items():
            raft.send(
                _heartbeat(
                    sender=raft.id,
                    to=peer,
                    term=raft.term,
                    commit=min(progress.match, raft.log.commit),
                    context=self._reads.round,
                )
            )

    @property
    def has_work(self) -> bool:
        """Whether `flush` may send something."""
        last = self._raft.log.last_index
        return bool(self._reads.waiting or self._reads.open or self.transferee) or any(
            p.nudged or p.next <= last for p in self.progress.values()
        )

    def flush(self) -> None:
        """Send what is due: entries, heartbeats for reads, a hand-over.

        A new commit index alone is no reason for a message: it travels with the next append or
        heartbeat, which halves the messages of a lone writer.
        """
        log = self._raft.log
        if self._reads.waiting and self.has_committed:
            self._reads.begin(log.commit)
            self._beat()
        if self._reads.open:
            self._serve_reads()
        last = log.last_index
        for peer, progress in self.progress.items():
            if progress.nudged or progress.next <= last:
                while self._send_if_due(peer, progress):
                    pass
        if self.transferee and not self._transfer_told:
            self._hand_over()

    def _serve_reads(self) -> None:
        raft = self._raft
        for read in self._reads.served(raft.id, raft.membership.voters):
            if read.origin == raft.id:
                raft.serve(read)
            else:
                raft.send(
                    ReadReply(
                        sender=raft.id,
                        to=read.origin,
                        term=raft.term,
                        request=read.request,
                        index=read.index,
                    )
                )

    def _hand_over(self) -> None:
        raft = self._raft
        if self.progress[self.transferee].match == raft.log.last_index:
            self._transfer_told = True
            raft.send(TimeoutNow(sender=raft.id, to=self.transferee, term=raft.term))

    def _send_if_due(self, peer: int, progress: Progress) -> bool:
        """Send one append where one is due; whether another may follow at once."""
        log = self._raft.log
        if progress.state is ProgressState.SNAPSHOT or progress.paused:
            return False
        more = progress.may_send and progress.next <= log.last_index
        if not (more or progress.nudged):
            return False
        sent_entries = self._send_append(peer, progress, with_entries=more)
        return sent_entries and progress.state is ProgressState.REPLICATE

    def _send_append(self, peer: int, progress: Progress, *, with_entries: bool) -> bool:
        """Send one append, or a snapshot where the log begins too late; whether it had entries."""
        raft, log = self._raft, self._raft.log
        prev_index = progress.next - 1
        prev_term = log.term(prev_index)
        if prev_term is None:
            self._send_snapshot(peer, progress)
            return False
        entries: tuple[Entry, ...] = ()
        if with_entries:
            entries = log.slice(progress.next, log.last_index, raft.settings.append_bytes)
        raft.send(
            Append(
                sender=raft.id,
                to=peer,
                term=raft.term,
                prev_index=prev_index,
                prev_term=prev_term,
                commit=log.commit,
                entries=entries,
            )
        )
        size = sum(len(entry.data) for entry in entries)
        progress.sent(prev_index + len(entries), len(entries), size)
        return bool(entries)

    def _send_snapshot(self, peer: int, progress: Progress) -> None:
        raft = self._raft
        progress.nudged = False
        if not progress.active:
            return  # a snapshot is dear: wait until the peer shows that it is there
        snapshot = raft.log.snapshot
        raft.send(InstallSnapshot(sender=raft.id, to=peer, term=raft.term, snapshot=snapshot))
        progress.install(snapshot.index)
