"""Bugs of the log: what is appended, acknowledged, committed and applied."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from manager.raft import quorum
from manager.raft.core import Raft, Saved
from manager.raft.leader import Leader
from manager.raft.log import Log
from manager.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    SnapshotMeta,
)
from manager.raft.progress import Progress, ProgressState
from manager.raft.roles import Follower
from pyswarm.testing.planted_bugs import Catalogue, patched
from pyswarm.testing.planted_bugs.raft_searches import storm, story, usual

Planted = AbstractContextManager[None]
BUGS = Catalogue()


@BUGS.add("A repeated append cuts the log where nothing conflicts.", storm)
def truncate_without_conflict() -> Planted:
    """As in raftos and pysyncobj."""

    def blunt(self: Log, prev_index: int, prev_term: int, entries: Sequence[Entry]) -> bool:
        if self.term(prev_index) != prev_term:
            return False
        if entries and self.last_index > prev_index:
            self.truncate(prev_index + 1)
        if entries:
            self.extend(entries)
        return True

    return patched((Log, "try_append", blunt))


@BUGS.add("Entries that conflict with the leader's stay.", storm)
def never_truncate() -> Planted:
    """The follower acknowledges what it does not have."""
    try_append = Log.try_append

    def polite(self: Log, prev_index: int, prev_term: int, entries: Sequence[Entry]) -> bool:
        if any(self.term(entry.index) not in (None, entry.term) for entry in entries):
            return self.term(prev_index) == prev_term
        return try_append(self, prev_index, prev_term, entries)

    return patched((Log, "try_append", polite))


@BUGS.add("A follower appends without looking at the entry before.", storm)
def append_without_a_look() -> Planted:
    """The check on which the equality of all logs rests."""
    try_append = Log.try_append

    def blind(self: Log, prev_index: int, prev_term: int, entries: Sequence[Entry]) -> bool:
        return try_append(self, prev_index, self.term(prev_index) or prev_term, entries)

    return patched((Log, "try_append", blind))


@BUGS.add("A follower acknowledges an append that did not fit.", storm)
def acknowledge_what_did_not_fit() -> Planted:
    """The refusal is lost on the way out."""
    send = Raft.send

    def polite(self: Raft, message: Message) -> None:
        if isinstance(message, AppendReply) and message.rejected:
            message = replace(message, rejected=False)
        send(self, message)

    return patched((Raft, "send", polite))


@BUGS.add("A follower acknowledges before its disk has it.", storm)
def reply_before_fsync() -> Planted:
    """Lost when the majority's power goes."""
    promise = Raft.promise

    def hasty(self: Raft, message: Message) -> None:
        (self.send if isinstance(message, AppendReply) else promise.__get__(self))(message)

    return patched((Raft, "promise", hasty))


@BUGS.add("A promise leaves with the write of something else.", storm)
def promise_with_the_wrong_write() -> Planted:
    """What the write under way does not hold counts as held by it."""
    keep = Raft.promise

    def joined(self: Raft, message: Message) -> None:
        if self._writing is not None:
            writing = replace(self._writing, promises=(*self._writing.promises, message))
            object.__setattr__(self._writing, "promises", writing.promises)
        else:
            keep(self, message)

    return patched((Raft, "promise", joined))


@BUGS.add("The leader counts its own log before its disk has it.", storm)
def own_log_before_fsync() -> Planted:
    """A majority with one disk less."""

    def hasty(self: Leader) -> None:
        self.match = self._raft.log.last_index
        self.maybe_commit()

    return patched((Leader, "stable", hasty))


@BUGS.add("An entry of an older term is committed by counting.", story("figure_8"))
def commit_an_older_term() -> Planted:
    """The Raft paper's figure 8."""
    return patched((Leader, "may_commit", lambda self, index: True))


@BUGS.add("The leader commits what any one member has.", storm)
def commit_what_one_has() -> Planted:
    """The largest instead of the median."""
    return patched((quorum, "reached", lambda values: max(values, default=0)))


@BUGS.add("The leader counts entries as soon as they are sent.", storm)
def match_when_sent() -> Planted:
    """What is sent may be lost."""
    sent = Progress.sent

    def hopeful(self: Progress, last_index: int, count: int, size: int) -> None:
        sent(self, last_index, count, size)
        self.match = max(self.match, last_index)
        self.next = max(self.next, self.match + 1)

    return patched((Progress, "sent", hopeful))


@BUGS.add("A late reply moves the match back.", storm)
def match_goes_back() -> Planted:
    """The peer has promised more before."""
    accepted = Progress.accepted

    def forgetful(self: Progress, index: int) -> bool:
        moved = accepted(self, index)
        self.match = index
        return moved

    return patched((Progress, "accepted", forgetful))


@BUGS.add("A follower commits entries that the append did not reach.", storm)
def commit_beyond_the_append() -> Planted:
    """Behind them its log may be an earlier leader's."""
    append = Follower._append

    def greedy(self: Follower, message: Append) -> None:
        append(self, message)
        self._raft.log.commit_to(message.commit)

    return patched((Follower, "_append", greedy))


@BUGS.add("A heartbeat commits more than the follower is known to have.", storm)
def heartbeat_commits_beyond_match() -> Planted:
    """The same, by another message."""
    send = Raft.send

    def generous(self: Raft, message: Message) -> None:
        if isinstance(message, Heartbeat):
            message = replace(message, commit=self.log.commit)
        send(self, message)

    return patched((Raft, "send", generous))


@BUGS.add("A late message sets the commit index back.", storm)
def commit_goes_back() -> Planted:
    """It only ever grows."""

    def obedient(self: Log, index: int) -> bool:
        self.commit = max(self.applied, min(index, self.last_index))
        return True

    return patched((Log, "commit_to", obedient))


@BUGS.add(
    "A write makes entries stable that were replaced while it was under way.",
    story("entries_are_replaced_while_they_are_written"),
)
def stable_without_a_look() -> Planted:
    """The disk has others at their places."""

    def blind(self: Log, index: int, term: int) -> None:
        self.stable = max(self.stable, min(index, self.last_index))
        self.handed = max(self.handed, self.stable)

    return patched((Log, "written", blind))


@BUGS.add("Entries that replace others count as being on disk, since their places are.", storm)
def truncate_keeps_stable() -> Planted:
    """Nobody writes them."""
    truncate = Log.truncate

    def careless(self: Log, first: int) -> None:
        stable, handed = self.stable, self.handed
        truncate(self, first)
        self._forgotten = (stable, handed)  # type: ignore[attr-defined]

    extend = Log.extend

    def extended(self: Log, entries: Sequence[Entry]) -> None:
        extend(self, entries)
        stable, handed = getattr(self, "_forgotten", (0, 0))
        self.stable = max(self.stable, min(stable, self.last_index))
        self.handed = max(self.handed, self.stable, min(handed, self.last_index))

    return patched((Log, "truncate", careless), (Log, "extend", extended))


@BUGS.add("A member applies what is on its disk, committed or not.", storm)
def apply_uncommitted() -> Planted:
    """Another leader may replace it."""
    following = Raft._next_committed

    def eager(self: Raft) -> Any:
        commit, self.log.commit = self.log.commit, self.log.stable
        try:
            return following(self)
        finally:
            self.log.commit = max(commit, self.log.applied)

    return patched((Raft, "_next_committed", eager))


@BUGS.add("The last entry of a batch is applied again with the next one.", usual)
def apply_twice() -> Planted:
    """The mark does not move far enough."""
    applied = Raft.applied

    def short(self: Raft, index: int) -> None:
        many = len(self._applying) > 1
        applied(self, index)
        if many:
            self.log.applied -= 1

    return patched((Raft, "applied", short))


@BUGS.add("The first entry of a large batch is not applied.", usual)
def apply_skips() -> Planted:
    """Off by one."""
    following = Raft._next_committed

    def hasty(self: Raft) -> Any:
        batch = following(self)
        return batch[1:] if len(batch) > 2 else batch

    return patched((Raft, "_next_committed", hasty))


@BUGS.add("After a restart all of the log counts as committed.", storm)
def restart_commits_all() -> Planted:
    """A member may apply what no majority has."""
    init = Raft.__init__

    def trusting(self: Raft, raft_id: int, settings: Any, draw: Any, saved: Saved) -> None:
        last = saved.entries[-1].index if saved.entries else saved.commit
        init(self, raft_id, settings, draw, replace(saved, commit=last))

    return patched((Raft, "__init__", trusting))


# -- snapshots ------------------------------------------------------------------------------------


@BUGS.add("A log that a snapshot replaced keeps the term of its old beginning.", storm)
def install_forgets_the_term() -> Planted:
    """No append fits behind it any more."""
    install = Log.install

    def forgetful(self: Log, snapshot: SnapshotMeta) -> None:
        term = self.base_term
        install(self, snapshot)
        self.base_term = term

    return patched((Log, "install", forgetful))


@BUGS.add("A batch that was handed out goes on behind a snapshot that has replaced it.", storm)
def install_keeps_the_batch() -> Planted:
    """The end of the old batch is taken for that of the log."""

    def lazy(self: Raft, message: InstallSnapshot) -> None:
        self.log.install(message.snapshot)
        self._install = message

    return patched((Raft, "install", lazy))


@BUGS.add("A follower acknowledges a snapshot that it has not installed.", storm)
def install_acknowledged_at_once() -> Planted:
    """The index of a snapshot is promised as it comes in."""
    install = Follower._install

    def boastful(self: Follower, message: InstallSnapshot) -> None:
        install(self, message)
        self._raft.send(self._accepted(message, message.snapshot.index))

    return patched((Follower, "_install", boastful))


@BUGS.add("An old snapshot replaces a newer state.", storm)
def install_goes_back() -> Planted:
    """A late or repeated one."""

    def blind(self: Follower, message: InstallSnapshot) -> None:
        raft = self._raft
        raft.log.commit = min(raft.log.commit, message.snapshot.index - 1)
        raft.install(message)
        raft.promise(self._accepted(message, raft.log.commit))

    return patched((Follower, "_install", blind))


@BUGS.add("Compaction drops entries that the snapshot does not have.", usual)
def compaction_beyond_applied() -> Planted:
    """The base moves to the end of the log."""
    compact = Log.compact

    def greedy(self: Log, snapshot: SnapshotMeta, keep: int) -> None:
        compact(self, snapshot, keep)
        place = min(self.last_index, snapshot.index + 2)
        term = self.term(place)
        if term is not None and place > self.base_index:
            del self._entries[: place - self.base_index]
            self.base_index, self.base_term = place, term

    return patched((Log, "compact", greedy))


# -- what a leader knows of its peers: nothing is lost, but nothing goes on ----------------------


@BUGS.add("An append that was lost is not sent again.", story("the_last_append_is_lost"))
def lost_append_stays_lost() -> Planted:
    """The reply to a heartbeat does not ask what is missing."""
    step = Leader.step

    def content(self: Leader, message: Message) -> None:
        step(self, message)
        progress = self.progress.get(message.sender)
        if isinstance(message, HeartbeatReply) and progress is not None:
            progress.nudged = progress.state is ProgressState.PROBE

    return patched((Leader, "step", content))


@BUGS.add(
    "A leader never asks further back where logs differ.", story("a_follower_missed_many_writes")
)
def probe_never_steps_back() -> Planted:
    """The follower refuses for ever."""
    rejected = Progress.rejected

    def stubborn(self: Progress, index: int, next_probe: int) -> bool:
        asked, probing = self.next, self.state is ProgressState.PROBE
        moved = rejected(self, index, next_probe)
        if probing:
            self.next = asked
        return moved

    return patched((Progress, "rejected", stubborn))


@BUGS.add("A peer whose snapshot was lost waits for it for ever.", story("a_snapshot_is_lost"))
def stuck_in_snapshot() -> Planted:
    """The state SNAPSHOT has no way out."""
    return patched((Progress, "snapshot_failed", lambda self: None))


@BUGS.add("Acknowledged appends stay in the window, which fills up.", usual)
def inflight_window_leaks() -> Planted:
    """The leader waits for room that never comes."""
    accepted = Progress.accepted

    def leaky(self: Progress, index: int) -> bool:
        window, size = self._window.copy(), self._bytes
        moved = accepted(self, index)
        self._window, self._bytes = window, size
        return moved

    def deaf(self: Progress) -> None:
        self.paused = False

    return patched((Progress, "accepted", leaky), (Progress, "heard_heartbeat", deaf))
