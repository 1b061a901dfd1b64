"""The roles without power: a follower keeps what the leader sends, a candidate counts votes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from manager.raft import quorum
from manager.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from manager.raft.quorum import Tally
from manager.raft.reads import Read

if TYPE_CHECKING:
    from manager.raft.core import Raft

_heartbeat_reply = lru_cache(64)(HeartbeatReply)  # most are those of the tick before
FROM_LEADER = (Append, Heartbeat, InstallSnapshot)


class Follower:
    """Keeps the leader's log and promises what is on disk."""

    name = "follower"

    def __init__(self, raft: Raft) -> None:
        self._raft = raft

    def tick(self) -> None:
        """Time passes; without a leader it asks for an election."""
        raft = self._raft
        raft.elapsed += 1
        if raft.elapsed >= raft.election_timeout:
            raft.elapsed = 0
            raft.leader_id = 0
            raft.campaign()

    def step(self, message: Message) -> None:
        """A message of the current term."""
        raft = self._raft
        if isinstance(message, FROM_LEADER):
            raft.elapsed = raft.hurries = 0
            raft.leader_id = message.sender
            if isinstance(message, Append):
                self._append(message)
            elif isinstance(message, Heartbeat):
                self._heartbeat(message)
            else:
                self._install(message)
        elif isinstance(message, TimeoutNow):
            raft.campaign(transfer=True)
        elif isinstance(message, ReadReply):
            raft.serve(Read(raft.id, message.request, message.index))

    def _append(self, message: Append) -> None:
        raft, log = self._raft, self._raft.log
        if message.prev_index < log.commit:
            # An old or repeated message: what is committed is the leader's already.
            raft.promise(self._accepted(message, log.commit))
            return
        if log.try_append(message.prev_index, message.prev_term, message.entries):
            last = message.prev_index + len(message.entries)
            log.commit_to(min(message.commit, last))
            raft.promise(self._accepted(message, last))
            return
        hint_index, hint_term = log.agree_hint(message.prev_index, message.prev_term)
        raft.send(
            AppendReply(
                sender=raft.id,
                to=message.sender,
                term=raft.term,
                index=message.prev_index,
                rejected=True,
                hint_index=hint_index,
                hint_term=hint_term,
            )
        )

    def _accepted(self, message: Message, index: int) -> AppendReply:
        return AppendReply(
            sender=self._raft.id, to=message.sender, term=self._raft.term, index=index
        )

    def _heartbeat(self, message: Heartbeat) -> None:
        raft = self._raft
        raft.log.commit_to(message.commit)
        raft.send(
            _heartbeat_reply(
                sender=raft.id, to=message.sender, term=raft.term, context=message.context
            )
        )

    def _install(self, message: InstallSnapshot) -> None:
        raft, log, snapshot = self._raft, self._raft.log, message.snapshot
        if snapshot.index > log.commit:
            if log.term(snapshot.index) == snapshot.term:
                # The log has all of it: only the news that it is committed was missing.
                log.commit_to(snapshot.index)
            else:
                raft.install(message)
        raft.promise(self._accepted(message, log.commit))


class Candidate:
    """Asks for votes; `pre` asks first whether there is any hope, and changes nothing."""

    name = "candidate"

    def __init__(self, raft: Raft, *, pre: bool, transfer: bool) -> None:
        self._raft = raft
        self.pre = pre
        self._transfer = transfer
        self._votes: dict[int, bool] = {}

    def begin(self) -> None:
        """Vote for oneself and ask the others."""
        raft = self._raft
        for peer in raft.membership.voters:
            if peer == raft.id:
                continue
            request = VoteRequest(
                sender=raft.id,
                to=peer,
                term=raft.term + 1 if self.pre else raft.term,
                last_index=raft.log.last_index,
                last_term=raft.log.last_term,
                pre=self.pre,
                transfer=self._transfer,
            )
            # A real candidacy is a vote for oneself: nobody may hear of it before it is on disk.
            if self.pre:
                raft.send(request)
            else:
                raft.promise(request)
        own = VoteReply(sender=raft.id, to=raft.id, term=raft.term, granted=True, pre=self.pre)
        if self.pre:
            self._count(own)
        else:
            raft.promise(own)

    def tick(self) -> None:
        """Time passes; an election without a result is repeated."""
        raft = self._raft
        raft.elapsed += 1
        if raft.elapsed >= raft.election_timeout:
            raft.elapsed = 0
            raft.become_follower(raft.term, 0)
            raft.campaign()

    def step(self, message: Message) -> None:
        """A message of the current term, or the promise of a pre-vote for the next one."""
        if isinstance(message, FROM_LEADER):
            self._raft.become_follower(message.term, message.sender)
            self._raft.role.step(message)
        elif isinstance(message, VoteReply) and message.pre == self.pre:
            self._count(message)

    def _count(self, reply: VoteReply) -> None:
        raft = self._raft
        self._votes.setdefault(reply.sender, reply.granted)
        result = quorum.tally(self._votes, raft.membership.voters)
        if result is Tally.WON and self.pre:
            raft.stand(transfer=False)
        elif result is Tally.WON:
            raft.become_leader()
        elif result is Tally.LOST:
            raft.become_follower(raft.term, 0)
