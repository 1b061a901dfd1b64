"""Bugs between consensus and its callers: members that change, reads, and answers to writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from manager.raft import quorum
from manager.raft.core import Raft, Write
from manager.raft.leader import Leader
from manager.raft.membership import Change, Membership, encode_change
from manager.raft.messages import Entry, EntryKind
from manager.raft.pending import Proposals, Waiter, Waiting, answer, refuse
from manager.raft.reads import Read, Reads
from pyswarm.errors import NotLeader
from pyswarm.testing.planted_bugs import Catalogue, patched
from pyswarm.testing.planted_bugs.raft_searches import storm, story, usual

Planted = AbstractContextManager[None]
BUGS = Catalogue()


# -- members --------------------------------------------------------------------------------------


@BUGS.add(
    "The acknowledgement of a removed member counts.", story("a_removed_member_is_not_counted")
)
def count_a_removed_member() -> Planted:
    """The leader counts all that it ever knew."""
    changed = Leader.membership_changed

    def forgetful(self: Leader, new: Membership) -> None:
        gone = {p: f for p, f in self.progress.items() if p not in new.ids}
        changed(self, new)
        self.progress.update(gone)

    def all_ever(self: Leader) -> None:
        raft = self._raft
        index = quorum.reached([self.match, *(found.match for found in self.progress.values())])
        if index > raft.log.commit and self.may_commit(index):
            raft.log.commit_to(index)

    return patched((Leader, "membership_changed", forgetful), (Leader, "maybe_commit", all_ever))


@BUGS.add("A learner votes and counts.", story("a_learner_is_not_counted"))
def count_a_learner() -> Planted:
    """It is added while it has nothing."""
    init = Membership.__post_init__

    def generous(self: Membership) -> None:
        init(self)
        object.__setattr__(self, "voters", self.ids)

    return patched((Membership, "__post_init__", generous))


def _change_at_once(self: Leader, change: Change) -> int:
    self._raft.membership.refusal(change)
    return self._append(EntryKind.MEMBERSHIP, [encode_change(change)])


@BUGS.add(
    "A change of members begins while another one is under way.", story("two_removals_at_once")
)
def two_changes_at_once() -> Planted:
    """Old and new majorities need not have a member in common."""
    return patched((Leader, "propose_change", _change_at_once))


@BUGS.add("The leader counts by a change as soon as it has appended it.", storm)
def change_effective_too_early() -> Planted:
    """The others still count by the old one."""
    propose = Leader.propose_change

    def early(self: Leader, change: Change) -> int:
        index = propose(self, change)
        self._raft._change(self._raft.membership.changed(change))
        return index

    return patched((Leader, "propose_change", early))


@BUGS.add("A member forgets the members that came with a leader's snapshot.", storm)
def snapshot_forgets_members() -> Planted:
    """The state is taken over, and who takes part is not."""
    written = Raft.written

    def forgetful(self: Raft, write: Write) -> None:
        members = self.membership
        written(self, write)
        if write.snapshot is not None:
            self.membership = members

    return patched((Raft, "written", forgetful))


@BUGS.add(
    "A removal takes effect before its commit is on disk.", story("one_of_two_is_switched_off")
)
def change_before_its_commit_is_stored() -> Planted:
    """After a restart a member waits for the vote of one that is gone."""
    following = Raft._next_committed

    def hasty(self: Raft) -> Any:
        self._stored_commit = self.log.commit
        return following(self)

    return patched((Raft, "_next_committed", hasty))


@BUGS.add("A refused vote does not tell what is committed.", story("two_and_a_removed_leader"))
def refusal_tells_nothing() -> Planted:
    """Two members wait for each other for ever once one of them was removed."""
    return patched((Raft, "_learn_commit", lambda self, reply: None))


@BUGS.add("A new member is taken to be busy with a snapshot that nobody sends.", usual)
def new_member_gets_nothing() -> Planted:
    """It takes part, and learns nothing."""
    changed = Leader.membership_changed

    def forgetful(self: Leader, new: Membership) -> None:
        known = set(self.progress)
        changed(self, new)
        for peer in set(self.progress) - known:
            self.progress[peer].install(1)

    return patched((Leader, "membership_changed", forgetful))


# -- reads ------------------------------------------------------------------------------------


@BUGS.add(
    "A leader serves reads without asking whether it still leads.",
    story("read_at_a_deposed_leader"),
)
def read_without_quorum() -> Planted:
    """Another one may have written since."""

    def at_once(self: Reads, me: int, voters: Iterable[int]) -> list[Read]:
        found = [read for _, read in self._open]
        self._open.clear()
        return found

    return patched((Reads, "served", at_once))


@BUGS.add(
    "Any answer to a heartbeat confirms the reads that wait.", story("read_with_an_old_answer")
)
def read_with_an_old_round() -> Planted:
    """Also one to a heartbeat of before the read."""

    def heard(self: Reads, sender: int, context: int) -> None:
        self._heard[sender] = self.round

    return patched((Reads, "heard", heard))


@BUGS.add(
    "A new leader serves reads before an entry of its own is committed.",
    story("read_at_a_new_leader"),
)
def read_before_own_entry() -> Planted:
    """It does not know yet what is committed."""
    return patched((Leader, "has_committed", True))


@BUGS.add(
    "A leader that is deposed answers the reads that wait.", story("read_at_a_deposed_leader")
)
def read_after_lost_leadership() -> Planted:
    """Nobody has confirmed them."""
    follow = Raft.become_follower

    def obliging(self: Raft, term: int, leader_id: int) -> None:
        if isinstance(self.role, Leader):
            for _, read in self.role._reads._open:
                self.serve(read)
        follow(self, term, leader_id)

    return patched((Raft, "become_follower", obliging))


@BUGS.add("A read does not wait until its index is applied.", usual)
def read_before_applied() -> Planted:
    """The index is right and the state is old."""

    def for_index(self: Waiting, index: int, waiter: Waiter) -> None:
        answer(waiter, 0)

    return patched((Waiting, "for_index", for_index))


@BUGS.add("Reads of followers are not answered.", usual)
def reads_of_followers_lost() -> Planted:
    """The leader serves only its own."""
    ask = Reads.ask

    def selfish(self: Reads, origin: int, request: int) -> None:
        if request % 2:
            ask(self, origin, request)

    return patched((Reads, "ask", selfish))


# -- answers to writes ----------------------------------------------------------------------------


@BUGS.add("A client hears that its write is done when another one took its place.", storm)
def lost_proposal_acknowledged() -> Planted:
    """Only the index is compared, and not the term."""

    def applied(self: Proposals, entry: Entry) -> None:
        flight = self._flights.pop(entry.index, None)
        if flight is not None:
            answer(flight[1], entry.index)

    return patched((Proposals, "applied", applied))


@BUGS.add("A write is acknowledged when it is in the leader's log.", usual)
def acknowledged_when_appended() -> Planted:
    """No majority has it."""
    appended = Proposals.appended

    def hasty(self: Proposals, first: int, term: int, batch: list[tuple[bytes, Waiter]]) -> None:
        appended(self, first, term, batch)
        for index, (_, waiter) in enumerate(batch, first):
            answer(waiter, index)

    return patched((Proposals, "appended", hasty))


@BUGS.add("A write is proposed twice.", usual)
def proposed_twice() -> Planted:
    """It takes effect twice."""

    def twice(self: Leader, payloads: Sequence[bytes]) -> int:
        return self._append(EntryKind.NORMAL, [*payloads, *payloads])

    return patched((Leader, "propose", twice))


@BUGS.add(
    "A client hears that a write never counts when its place in one log was taken.",
    story("a_write_that_lost_its_place_returns"),
)
def replaced_write_refused() -> Planted:
    """This one was real: a member that still has the write may lead and commit it."""
    appended = Proposals.appended

    def certain(self: Proposals, first: int, term: int, batch: list[tuple[bytes, Waiter]]) -> None:
        for index in range(first, first + len(batch)):
            if index in self._flights:
                refuse(self._flights[index][1], NotLeader())
        appended(self, first, term, batch)

    return patched((Proposals, "appended", certain))


@BUGS.add(
    "A client hears that a write never counts when a snapshot came instead.",
    story("a_snapshot_comes_instead_of_the_answer"),
)
def skipped_write_refused() -> Planted:
    """The snapshot may hold it."""

    def certain(self: Proposals, index: int) -> None:
        for place in [place for place in self._flights if place <= index]:
            refuse(self._flights.pop(place)[1], NotLeader())

    return patched((Proposals, "skipped", certain))


@BUGS.add("Clients of every other write are never answered.", usual)
def write_never_answered() -> Planted:
    """They wait until their time is over."""

    def applied(self: Proposals, entry: Entry) -> None:
        if entry.index % 2:
            done(self, entry)

    done = Proposals.applied
    return patched((Proposals, "applied", applied))
