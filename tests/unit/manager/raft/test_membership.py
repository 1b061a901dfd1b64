from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.raft.membership import (
    AddMember,
    Change,
    Member,
    Membership,
    RemoveMember,
    UpdateMember,
    decode_change,
    decode_membership,
    encode_change,
    encode_membership,
)
from pyswarm.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

ids = st.integers(1, 6)
members = st.builds(Member, ids, st.text(max_size=5), st.text(max_size=5), st.booleans())
changes = st.one_of(
    st.builds(AddMember, members),
    st.builds(RemoveMember, ids),
    st.builds(UpdateMember, ids, st.text(max_size=5)),
)
THREE = Membership.of([Member(3), Member(1), Member(2, learner=True)])


def test_members_are_in_the_order_of_their_ids_and_learners_do_not_vote() -> None:
    assert THREE.ids == (1, 2, 3)
    assert THREE.voters == (1, 3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (AddMember(Member(1)), AlreadyExists),
        (AddMember(Member(2, learner=True)), AlreadyExists),
        (AddMember(Member(0)), InvalidArgument),
        (RemoveMember(9), NotFound),
        (UpdateMember(9, "x"), NotFound),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change: Change, error: type[Exception]) -> None:
    with pytest.raises(error):
        THREE.refusal(change)


def test_the_last_voter_stays() -> None:
    alone = THREE.changed(RemoveMember(3))
    with pytest.raises(FailedPrecondition, match="last manager"):
        alone.refusal(RemoveMember(1))


def test_a_learner_becomes_a_voter() -> None:
    THREE.refusal(AddMember(Member(2)))
    assert THREE.changed(AddMember(Member(2))).voters == (1, 2, 3)


def test_who_was_removed_does_not_come_back() -> None:
    without = THREE.changed(RemoveMember(3))
    with pytest.raises(FailedPrecondition, match="join under a new id"):
        without.refusal(AddMember(Member(3)))
    assert without.changed(AddMember(Member(3))) == without


@given(st.lists(changes))
def test_any_history_gives_the_same_members_after_a_snapshot(history: list[Change]) -> None:
    membership = THREE
    for change in history:
        before = membership.voters
        membership = membership.changed(decode_change(encode_change(change)))
        assert len(set(before) ^ set(membership.voters)) <= 1, "one voter at a time"
        assert not membership.removed & set(membership.ids)
    assert decode_membership(encode_membership(membership)) == membership


@pytest.mark.parametrize("data", [b"", b"{}", b'["add", 1]', b'["remove", "x"]', b"\xff"])
def test_nonsense_is_no_change(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_change(data)
