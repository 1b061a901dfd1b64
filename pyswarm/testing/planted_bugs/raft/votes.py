"""Bugs of elections: votes, terms, and who may lead."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from manager.raft import core, quorum
from manager.raft.core import Raft, Saved
from manager.raft.leader import Leader
from manager.raft.messages import Append, Heartbeat, Message, TimeoutNow, VoteReply, VoteRequest
from manager.raft.roles import Candidate
from pyswarm.testing.planted_bugs import Catalogue, patched
from pyswarm.testing.planted_bugs.raft.searches import storm, story

Planted = AbstractContextManager[None]
BUGS = Catalogue()


@BUGS.add("A member votes for whoever asks, also twice in a term.", storm)
def vote_twice() -> Planted:
    """Raft's first rule."""
    return patched((Raft, "may_vote", lambda self, request: True))


@BUGS.add(
    "A member forgets its vote when it restarts.",
    story("two_candidates_and_a_restart_between_them"),
)
def vote_forgotten() -> Planted:
    """The vote is on disk and is not read."""
    init = Raft.__init__

    def forgetful(self: Raft, raft_id: int, settings: Any, draw: Any, saved: Saved) -> None:
        init(self, raft_id, settings, draw, replace(saved, vote=0))

    return patched((Raft, "__init__", forgetful))


@BUGS.add("A candidate with a shorter log gets votes.", storm)
def vote_for_a_shorter_log() -> Planted:
    """Nobody compares the logs."""
    vote = Raft._vote

    def generous(self: Raft, request: VoteRequest) -> None:
        vote(self, replace(request, last_term=1 << 60))

    return patched((Raft, "_vote", generous))


@BUGS.add(
    "Logs are compared by their length and not by the term of their last entry.",
    story("the_longest_log_loses"),
)
def vote_for_the_longest_log() -> Planted:
    """The longer log may be the one that lost."""
    vote = Raft._vote

    def by_length(self: Raft, request: VoteRequest) -> None:
        vote(self, replace(request, last_term=self.log.last_term))

    return patched((Raft, "_vote", by_length))


@BUGS.add("A vote leaves before it is on disk.", story("a_voter_crashes_before_its_fsync"))
def vote_before_fsync() -> Planted:
    """A promise that a crash takes back."""
    promise = Raft.promise

    def hasty(self: Raft, message: Message) -> None:
        (self.send if isinstance(message, VoteReply) else promise.__get__(self))(message)

    return patched((Raft, "promise", hasty))


@BUGS.add("A new term and vote are not written where no entry comes with them.", storm)
def term_and_vote_not_written() -> Planted:
    """The state counts as stored already."""
    following = Raft._next_write

    def lazy(self: Raft) -> Any:
        self._handed = (self.term, self.vote)
        return following(self)

    return patched((Raft, "_next_write", lazy))


@BUGS.add(
    "A candidate asks for votes before its own vote is on disk.",
    story("a_candidate_crashes_before_its_fsync"),
)
def candidacy_before_fsync() -> Planted:
    """It may vote for another after a crash."""
    promise = Raft.promise

    def hasty(self: Raft, message: Message) -> None:
        if isinstance(message, VoteReply) and message.to == self.id:
            self.role.step(message)
        elif isinstance(message, VoteRequest):
            self.send(message)
        else:
            promise(self, message)

    return patched((Raft, "promise", hasty))


@BUGS.add("The promise of a vote counts as a vote.", storm)
def pre_vote_counts_as_vote() -> Planted:
    """Pre-votes bind nobody."""

    def step(self: Candidate, message: Message) -> None:
        if isinstance(message, VoteReply):
            self._count(message)
        else:
            stepped(self, message)

    def step_newer(self: Raft, message: Message) -> bool:
        if isinstance(message, VoteReply) and message.pre and message.granted:
            self.role.step(message)
            return False
        return newer(self, message)

    def step_older(self: Raft, message: Message) -> None:
        if isinstance(message, VoteReply) and message.granted and isinstance(self.role, Candidate):
            self.role.step(message)
        older(self, message)

    stepped, newer, older = Candidate.step, Raft._newer, Raft._older
    return patched(
        (Candidate, "step", step), (Raft, "_newer", step_newer), (Raft, "_older", step_older)
    )


@BUGS.add("Votes of an earlier term count in this one.", story("a_vote_comes_a_term_late"))
def votes_of_an_earlier_term() -> Planted:
    """A late vote is not thrown away."""
    older = Raft._older

    def step_older(self: Raft, message: Message) -> None:
        if isinstance(message, VoteReply) and not message.pre:
            self.role.step(message)
        older(self, message)

    return patched((Raft, "_older", step_older))


@BUGS.add("A majority is half of the voters.", storm)
def half_is_a_majority() -> Planted:
    """As in raftos, which counts the peers without itself."""
    return patched((quorum, "majority", lambda count: max(1, count // 2)))


@BUGS.add("Who lost its leader stands at once, without asking first.", story("a_follower_returns"))
def no_pre_vote() -> Planted:
    """It comes back with a higher term and deposes a good leader."""

    def campaign(self: Raft, *, transfer: bool = False) -> None:
        if self._promotable():
            self.stand(transfer=transfer)

    return patched((Raft, "campaign", campaign))


@BUGS.add("A broken connection is taken for a death.", story("a_connection_breaks"))
def broken_connection_is_a_death() -> Planted:
    """It deposes a leader that lives."""

    def sure(self: Raft, peer: int) -> None:
        if peer == self.leader_id:
            self.campaign(transfer=True)

    return patched((Raft, "disconnected", sure))


@BUGS.add("Nobody notices that the leader's connections break.", story("the_leader_is_killed"))
def broken_connection_not_noticed() -> Planted:
    """Writes wait for a whole timeout."""
    return patched((Raft, "disconnected", lambda self, peer: None))


@BUGS.add("All ask equally soon for a new leader.", story("the_leader_is_killed"))
def hurry_not_random() -> Planted:
    """Their votes are split until they hurry no more."""
    return patched((core, "DISCONNECTED_TICKS", 1))


@BUGS.add(
    "Who split the votes after a leader's death hurries no more.", story("the_leader_is_killed")
)
def hurry_only_once() -> Planted:
    """The second election waits for a whole timeout."""
    return patched((core, "DISCONNECTED_TRIES", 1))


@BUGS.add("Who hears its leader takes part in elections all the same.", story("one_hears_nothing"))
def lease_ignored() -> Planted:
    """One member that hears nothing deposes a leader that all others hear."""
    newer = Raft._newer

    def unleased(self: Raft, message: Message) -> bool:
        if isinstance(message, VoteRequest):
            message = replace(message, transfer=True)
        return newer(self, message)

    return patched((Raft, "_newer", unleased))


@BUGS.add("All wait equally long for a leader.", story("all_ask_at_once"))
def timeouts_not_random() -> Planted:
    """Elections are split for ever."""

    def same(self: Raft) -> None:
        self.election_timeout = self.settings.election_ticks + 1

    return patched((Raft, "_reset_timeout", same))


@BUGS.add("A leader that hears nobody does not give up.", story("a_deaf_leader"))
def no_check_quorum() -> Planted:
    """It is heard, so nobody else stands."""
    return patched((Leader, "_quorum_is_active", lambda self: True))


@BUGS.add("A leader does not follow a later one.", story("an_old_leader_is_told"))
def old_leader_stays() -> Planted:
    """Messages of a later term do not move it."""
    step = Raft.step

    def stubborn(self: Raft, message: Message) -> None:
        if not (isinstance(self.role, Leader) and message.term > self.term):
            step(self, message)

    return patched((Raft, "step", stubborn))


@BUGS.add("Nobody tells a leader that its term has passed.", story("a_member_of_a_later_term"))
def old_leader_is_not_told() -> Planted:
    """A member of a later term stays outside for ever: nobody pre-votes for it."""
    return patched((Raft, "_older", lambda self, message: None))


@BUGS.add("The leadership goes to a member that lags.", story("hand_over_to_one_that_lags"))
def transfer_to_a_lagging_peer() -> Planted:
    """It gets no vote, and nobody leads."""

    def hasty(self: Leader) -> None:
        raft = self._raft
        self._transfer_told = True
        raft.send(TimeoutNow(sender=raft.id, to=self.transferee, term=raft.term))

    return patched((Leader, "_hand_over", hasty))


@BUGS.add("A hand-over never ends.", story("hand_over_to_one_that_is_gone"))
def transfer_without_an_end() -> Planted:
    """The leader refuses writes for ever."""
    tick = Leader.tick

    def patient(self: Leader) -> None:
        successor = self.transferee
        tick(self)
        self.transferee = successor

    return patched((Leader, "tick", patient))


@BUGS.add(
    "A member campaigns with a committed change of members that it has not applied.",
    story("two_removals_are_not_applied_yet"),
)
def campaign_before_a_change_is_applied() -> Planted:
    """It would count the wrong voters."""

    def eager(self: Raft) -> bool:
        return self.electable and not self._install and self.id in self.membership.voters

    return patched((Raft, "_promotable", eager))


@BUGS.add("The word of a leader of an earlier term counts.", story("an_append_comes_a_term_late"))
def follows_an_earlier_term() -> Planted:
    """Late messages of a deposed leader are taken as if it led."""
    step = Raft.step

    def obedient(self: Raft, message: Message) -> None:
        if isinstance(message, Append | Heartbeat) and message.term < self.term:
            message = replace(message, term=self.term)
        step(self, message)

    return patched((Raft, "step", obedient))
