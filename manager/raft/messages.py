"""The words that members exchange, and the entries of their log. Terms and indexes count from 1.

Raft ids are positive; 0 means nobody. Every message carries the term of its sender; a pre-vote
carries the term that the candidate would have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from manager.raft.membership import Membership


class EntryKind(IntEnum):
    """What an entry's payload is."""

    NORMAL = 0  # for the state machine
    NOOP = 1  # a leader's first: nothing of an older term commits before it
    MEMBERSHIP = 2  # a change, see membership.encode_change


@dataclass(frozen=True, slots=True)
class Entry:
    """One place of the log."""

    index: int
    term: int
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot replaces: everything up to `index`, whose entry had `term`."""

    index: int = 0
    term: int = 0
    membership: Membership = field(default_factory=Membership)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """From one member to another."""

    sender: int
    to: int
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRequest(Message):
    """Asks for a vote (`pre`: whether it would be given). `transfer`: the old leader wants it."""

    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteReply(Message):
    """A granted vote is a promise: it leaves after it is on disk.

    A refusal names the last committed entry of its sender.
    """

    granted: bool
    pre: bool = False
    commit_index: int = 0
    commit_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Append(Message):
    """Entries that follow `prev_index`, whose entry has `prev_term`; and what is committed."""

    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendReply(Message):
    """Up to `index` the log is the leader's and on disk; or, rejected, `index` did not fit.

    The hint of a rejection is the last place that can agree: the largest index with a term not
    above the one that the leader asked for, and that place's term.
    """

    index: int
    rejected: bool = False
    hint_index: int = 0
    hint_term: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Message):
    """The leader lives. `context` numbers the round, for reads that wait for its answers."""

    commit: int
    context: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply(Message):
    """Repeats `context`; with a higher term it tells an old leader that its time is over."""

    context: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot(Message):
    """Replaces a log that is too far behind. The core sends it without `data`; the driver adds."""

    snapshot: SnapshotMeta
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow(Message):
    """The leader hands over: the receiver, whose log is complete, starts an election at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest(Message):
    """A follower asks for an index such that a read behind it is linearizable."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReply(Message):
    """The answer: `request` may be served once `index` is applied."""

    request: int
    index: int
