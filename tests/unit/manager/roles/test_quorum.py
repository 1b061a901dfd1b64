"""No change of the managers may leave too few of them to decide anything."""

from __future__ import annotations

import pytest

from manager.raft.status import PeerStatus, RaftStatus
from manager.roles.quorum import (
    LAG_ENTRIES,
    check_removal,
    decides,
    may_vote,
    raft_id_of,
    reachable,
    successor,
)
from pyswarm.errors import FailedPrecondition


def status(*peers: tuple[int, int, bool], own: int = 1, commit: int = 100) -> RaftStatus:
    """What the leader `own` sees: (raft id, match, answers) of its peers."""
    return RaftStatus(
        raft_id=own,
        role="leader",
        term=3,
        leader_id=own,
        commit=commit,
        applied=commit,
        first_index=1,
        last_index=commit,
        snapshot_index=0,
        peers=tuple(
            PeerStatus(raft_id, match, match + 1, "replicate", answers)
            for raft_id, match, answers in peers
        ),
    )


@pytest.mark.parametrize(
    ("voters", "alive", "majority"),
    [([1], [1], True), ([1, 2], [1], False), ([1, 2, 3], [1, 2], True), ([1, 2, 3, 4], [1, 2], 0)],
)
def test_more_than_half_decide(voters: list[int], alive: list[int], majority: bool) -> None:
    assert decides(voters, alive) is bool(majority)


def test_of_three_managers_with_one_down_the_dead_one_may_go_and_no_other() -> None:
    check_removal([1, 2, 3], [1, 2], 3)
    with pytest.raises(FailedPrecondition, match=r"loss of quorum \(1 of the other 2 managers"):
        check_removal([1, 2, 3], [1, 2], 2)


def test_the_last_manager_stays() -> None:
    with pytest.raises(FailedPrecondition, match="last manager"):
        check_removal([1], [1], 1)


def test_a_learner_may_always_go_since_it_decides_nothing() -> None:
    check_removal([1, 2, 3], [1], 9)


def test_a_learner_votes_once_it_has_caught_up_and_answers() -> None:
    assert may_vote(status((2, 100 - LAG_ENTRIES, True)), [1], 2)
    assert not may_vote(status((2, 100 - LAG_ENTRIES - 1, True)), [1], 2)
    assert not may_vote(status((2, 100, False)), [1], 2)
    assert not may_vote(status(), [1], 2)


def test_a_vote_is_given_only_where_a_majority_with_it_is_there() -> None:
    both = status((2, 100, True), (3, 0, False), (4, 100, True))
    assert may_vote(both, [1, 2, 3], 4), "3 of 4 answer"
    alone = status((2, 0, False), (3, 0, False), (4, 100, True))
    assert not may_vote(alone, [1, 2, 3], 4), "2 of 4 answer"


def test_the_furthest_voter_that_answers_takes_over() -> None:
    seen = status((2, 90, True), (3, 95, True), (4, 99, False), (5, 99, True))
    voters = [1, 2, 3, 4]
    assert successor(seen, voters) == 3
    assert successor(seen, voters, avoid=[3]) == 2
    assert successor(seen, voters, avoid=[2, 3]) == 3, "rather a drained one than nobody"
    assert successor(status((2, 9, False)), [1, 2]) is None


def test_the_leader_reaches_itself() -> None:
    assert reachable(status((2, 9, True), (3, 9, False))) == {1, 2}


def test_a_first_raft_id_is_positive_and_of_63_bits() -> None:
    assert 0 < raft_id_of("n1") < 1 << 63
    assert raft_id_of("n1") != raft_id_of("n2")
