"""What `swarm status` advises."""

from __future__ import annotations

from manager.recovery.status import Standing, advice, lag_of, leader_of, quorum_of


def manager(
    number: int,
    *,
    up: bool = True,
    leader: int = 1,
    applied: int = 100,
    learner: bool = False,
    last: tuple[int, int] = (3, 100),
    ahead: float = 0.0,
) -> Standing:
    return Standing(
        raft_id=number,
        hostname=f"m{number}",
        address=f"10.0.0.{number}:2377",
        learner=learner,
        commit=applied if up else None,
        applied=applied if up else None,
        leads=up and leader == number,
        names=leader if up else 0,
        last=last,
        ahead_seconds=ahead,
    )


def said(*members: Standing, waiting: tuple[str, ...] = ()) -> str:
    return "\n".join(advice(members, "m1", waiting))


def test_a_whole_swarm_needs_no_advice() -> None:
    members = [manager(1), manager(2), manager(3)]
    assert said(*members) == ""
    quorum = quorum_of(members)
    assert (quorum.managers, quorum.needed, quorum.may_fail) == (3, 2, 1)
    assert leader_of(members) == members[0]
    assert said(manager(1)) == ""


def test_a_lost_quorum_comes_first_and_names_the_way_out() -> None:
    text = said(manager(1, leader=0), manager(2, up=False), manager(3, up=False))
    assert text.startswith("Quorum is lost: 2 of 3 managers must agree, and 1 can be reached")
    assert "m2 (10.0.0.2:2377), m3 (10.0.0.3:2377)" in text
    assert "--force-new-cluster --dry-run" in text
    assert len(text.splitlines()) == 1


def test_without_a_quorum_the_way_out_leads_to_the_log_that_goes_furthest() -> None:
    gone = [manager(number, up=False, leader=0, last=(9, 999)) for number in (4, 5)]
    behind = manager(1, leader=0, last=(3, 100))
    assert "--dry-run' on m2," in said(behind, manager(2, leader=0, last=(3, 101)), *gone)
    later = manager(3, leader=0, last=(4, 90))
    assert "--dry-run' on m3," in said(behind, manager(2, up=False), later, *gone), (
        "the later term counts, as in an election"
    )


def test_without_a_quorum_nobody_is_told_to_promote() -> None:
    text = said(manager(1, leader=0), manager(2, up=False))
    assert text.startswith("Quorum is lost: 2 of 2 managers")
    assert "promote" not in text


def test_with_autolock_a_silent_manager_may_wait_for_its_key() -> None:
    down = [manager(2, up=False), manager(3, up=False)]
    for members in ([manager(1), manager(2), down[1]], [manager(1, leader=0), *down]):
        assert "unlock" not in said(*members)
        [text] = advice(members, "m1", (), autolock=True)
        assert ", which may be locked: 'pyswarm swarm unlock' there" in text


def test_a_clock_that_is_off_is_named() -> None:
    members = [manager(1), manager(2, ahead=-90.0), manager(3, ahead=4.0)]
    assert said(*members).startswith("The clock of m2 is 90 s behind that of m1: set it")
    assert len(said(*members).splitlines()) == 1
    assert "m3 is 3600 s ahead of that of m1" in said(
        manager(1), *members[1:2], manager(3, ahead=3600)
    )


def test_a_silent_manager_is_named_with_what_may_still_fail() -> None:
    assert "no other may fail" in said(manager(1), manager(2), manager(3, up=False))
    five = [manager(number) for number in (1, 2, 3, 4)]
    assert "1 more may fail" in said(*five, manager(5, up=False))


def test_a_quorum_without_a_leader_is_an_election() -> None:
    text = said(*(manager(number, leader=0) for number in (1, 2, 3)))
    assert text.startswith("No manager leads, though 3 of 3 answer")


def test_a_leader_that_only_itself_believes_in_is_none() -> None:
    cut_off = manager(1)
    assert leader_of([cut_off, manager(2, leader=0), manager(3, leader=0)]) is None
    assert leader_of([cut_off, manager(2, leader=3), manager(3, leader=3)]).hostname == "m3"


def test_an_even_number_is_no_better_than_one_less() -> None:
    assert "2 managers tolerate no more failures than 1" in said(manager(1), manager(2))


def test_a_learner_neither_votes_nor_counts() -> None:
    members = [manager(1), manager(2), manager(3), manager(4, up=False, learner=True)]
    assert quorum_of(members).managers == 3
    assert "m4 (10.0.0.4:2377) cannot be reached from m1; 1 more may fail" in said(*members)


def test_who_is_far_behind_is_named() -> None:
    members = [manager(1, applied=90_000), manager(2, applied=89_500), manager(3, applied=5)]
    assert [lag_of(member, members) for member in members] == [0, 500, 89_995]
    assert said(*members).startswith("m3 is 89995 entries behind")


def test_nodes_that_have_not_come_back_are_named() -> None:
    text = said(manager(1), waiting=tuple(f"w{number}" for number in range(12)))
    assert text.startswith("12 of the nodes have not come back")
    assert "w9, ..." in text
