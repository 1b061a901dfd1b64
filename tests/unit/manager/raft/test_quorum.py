from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manager.raft.quorum import Tally, majority, reached, tally

voters = st.integers(1, 7).map(lambda count: range(1, count + 1))


def test_half_is_not_a_majority() -> None:
    assert [majority(count) for count in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_what_is_reached_is_the_most_that_a_majority_has(values: list[int]) -> None:
    found = reached(values)
    assert sum(value >= found for value in values) >= majority(len(values))
    assert sum(value > found for value in values) < majority(len(values))


def test_nobody_reaches_nothing() -> None:
    assert reached([]) == 0


@given(voters, st.dictionaries(st.integers(1, 9), st.booleans()))
def test_a_vote_is_decided_when_no_other_vote_can_change_it(
    voters: range, votes: dict[int, bool]
) -> None:
    result = tally(votes, voters)
    optimist = {voter: votes.get(voter, True) for voter in voters}
    pessimist = {voter: votes.get(voter, False) for voter in voters}
    if result is Tally.WON:
        assert tally(pessimist, voters) is Tally.WON
    elif result is Tally.LOST:
        assert tally(optimist, voters) is Tally.LOST
    else:
        assert tally(optimist, voters) is Tally.WON
        assert tally(pessimist, voters) is Tally.LOST


def test_votes_of_strangers_do_not_count() -> None:
    assert tally({1: True, 8: True, 9: True}, (1, 2, 3)) is Tally.PENDING
