"""Which step brings the managers to what the specifications ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manager.raft.membership import Member, Membership
from manager.raft.status import RaftStatus
from manager.roles.plan import (
    Drop,
    GiveVote,
    Grant,
    HandOver,
    Note,
    Outcome,
    Revoke,
    check_demotion,
    plan,
    unwanted,
)
from pyswarm.errors import FailedPrecondition
from pyswarm.model import Availability, ManagerStatus, Node, NodeRole, NodeSpec

from .test_quorum import status

MANAGER, WORKER = NodeRole.MANAGER, NodeRole.WORKER
NOW = 1000.0


def node(
    number: int,
    wanted: NodeRole = MANAGER,
    role: NodeRole = MANAGER,
    availability: Availability = Availability.ACTIVE,
) -> Node:
    noted = ManagerStatus(raft_id=number, address=f"m{number}:2377") if role is MANAGER else None
    spec = NodeSpec(role=wanted, availability=availability)
    return Node(id=f"n{number}", spec=spec, role=role, manager=noted)


def member(number: int, learner: bool = False) -> Member:
    return Member(number, f"n{number}", f"m{number}:2377", learner)


THREE = Membership.of(member(number) for number in (1, 2, 3))
ALL_ANSWER = status((2, 100, True), (3, 100, True))


def decide(
    *nodes: Node, members: Membership = THREE, seen: RaftStatus = ALL_ANSWER, now: float = NOW
) -> Outcome:
    return plan({each.id: each for each in nodes}, members, seen, now)


def test_where_all_is_as_it_shall_be_nothing_is_done() -> None:
    assert decide(node(1), node(2), node(3), node(4, WORKER, WORKER)) == Outcome()


def test_a_promoted_worker_may_have_a_certificate_then_a_learner_then_a_vote() -> None:
    rest = [node(1), node(2), node(3)]
    assert decide(*rest, node(4, MANAGER, WORKER)).steps == (Grant("n4"),)

    joining = Membership.of([*THREE.members, member(4, learner=True)])
    behind = status((2, 100, True), (3, 100, True), (4, 1, True))
    waiting = decide(*rest, node(4), members=joining, seen=behind)
    assert (waiting.steps, waiting.learners) == ((), True)

    there = status((2, 100, True), (3, 100, True), (4, 100, True))
    voting = decide(*rest, node(4), members=joining, seen=there)
    assert voting.steps == (GiveVote(member(4, learner=True)),)


def test_a_node_demoted_a_moment_ago_waits_for_the_next_second() -> None:
    again = replace(node(4, MANAGER, WORKER), demoted_at=NOW)
    rest = [node(1), node(2), node(3)]
    assert "n4" in decide(*rest, again, now=NOW + 0.5).waits
    assert decide(*rest, again, now=NOW + 1.1).steps == (Grant("n4"),)


def test_a_demoted_manager_leaves_raft_before_it_loses_its_role() -> None:
    rest = [node(1), node(2)]
    assert decide(*rest, node(3, WORKER)).steps == (Drop(3),)
    two = Membership.of([member(1), member(2)])
    assert decide(*rest, node(3, WORKER), members=two).steps == (Revoke("n3"),)


def test_a_demoted_leader_hands_over_first() -> None:
    assert decide(node(1, WORKER), node(2), node(3)).steps == (HandOver(3),)
    drained = node(3, availability=Availability.DRAIN)
    assert decide(node(1, WORKER), node(2), drained).steps == (HandOver(2),)


def test_a_demotion_that_would_lose_the_quorum_waits_and_says_why() -> None:
    one_down = status((2, 100, True), (3, 1, False))
    outcome = decide(node(1), node(2, WORKER), node(3), seen=one_down)
    assert outcome.steps == ()
    assert "loss of quorum" in outcome.waits["n2"]
    assert decide(node(1), node(2), node(3, WORKER), seen=one_down).steps == (Drop(3),)


def test_a_drained_leader_hands_over_to_one_that_is_not() -> None:
    drained = Availability.DRAIN
    assert decide(node(1, availability=drained), node(2), node(3)).steps == (HandOver(3),)
    others = [node(2, availability=drained), node(3, availability=drained)]
    assert decide(node(1, availability=drained), *others).steps == ()
    assert decide(node(1), *others).steps == ()


def test_the_records_say_what_raft_says() -> None:
    moved = Membership.of([member(1), member(2), Member(3, "n3", "elsewhere:2377")])
    noted = ManagerStatus(raft_id=3, address="elsewhere:2377")
    assert decide(node(1), node(2), node(3), members=moved).steps == (Note("n3", noted),)
    two = Membership.of([member(1), member(2)])
    assert decide(node(1), node(2), node(3), members=two).steps == (Note("n3", None),)


def test_a_member_without_a_record_goes_but_not_the_first_manager_of_a_new_swarm() -> None:
    assert decide(node(1), node(2)).steps == (Drop(3),)
    assert decide(members=Membership.of([member(1)]), seen=status()).steps == ()


def test_a_learner_that_is_demoted_goes_whoever_answers() -> None:
    joining = Membership.of([member(1), member(2), member(3, learner=True)])
    silent = status((2, 1, False), (3, 1, False))
    assert decide(node(1), node(2), node(3, WORKER), members=joining, seen=silent).steps == (
        Drop(3),
    )


def test_a_demotion_is_refused_for_the_last_manager_and_for_the_quorum() -> None:
    with pytest.raises(FailedPrecondition, match="attempting to demote the last manager"):
        check_demotion(node(1), [node(1)], Membership.of([member(1)]), status())
    one_down = status((2, 100, True), (3, 1, False))
    everybody = [node(1), node(2), node(3)]
    with pytest.raises(FailedPrecondition, match="can't remove member from the raft"):
        check_demotion(node(2), everybody, THREE, one_down)
    check_demotion(node(3), everybody, THREE, one_down)
    check_demotion(node(4), everybody, THREE, one_down)


def test_demotions_under_way_count_as_done() -> None:
    leaving = [node(1), node(2, WORKER), node(3, WORKER)]
    with pytest.raises(FailedPrecondition, match="last manager"):
        check_demotion(node(1), leaving, THREE, ALL_ANSWER)
    check_demotion(node(3), [node(1), node(2, WORKER), node(3)], THREE, ALL_ANSWER)


def test_drained_managers_and_those_on_their_way_out_had_better_not_lead() -> None:
    nodes = [node(1), node(2, WORKER), node(3, availability=Availability.DRAIN)]
    assert unwanted(nodes, THREE) == {2, 3}
