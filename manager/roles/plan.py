"""Which step brings the managers closer to what the nodes' specifications ask for.

    spec.role MANAGER     role MANAGER on record ─▶ the node renews its certificate, starts its
                          manager, joins raft as a learner ─▶ caught up: a voter
    spec.role WORKER      the leader hands over ─▶ out of raft ─▶ role WORKER on record ─▶ the node
                          renews its certificate, stops its manager
    leader drained        the leader hands over

Each step is taken from a fresh look, so a new leader goes on where the old one was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manager.raft.membership import Member, Membership
from manager.raft.status import RaftStatus
from manager.roles.quorum import check_removal, decides, may_vote, reachable, successor
from pyswarm.errors import FailedPrecondition
from pyswarm.model import Availability, ManagerStatus, Node, NodeRole


@dataclass(frozen=True, slots=True)
class Grant:
    """The node may have a manager's certificate."""

    node_id: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """The node is a worker from now on, and its manager's certificates count no more."""

    node_id: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Take a member out of raft."""

    raft_id: int


@dataclass(frozen=True, slots=True)
class GiveVote:
    """The learner becomes a voter."""

    member: Member


@dataclass(frozen=True, slots=True)
class Note:
    """The node's record shall say what raft knows of it."""

    node_id: str
    status: ManagerStatus | None


@dataclass(frozen=True, slots=True)
class HandOver:
    """Another voter shall lead."""

    to: int


Step = Grant | Revoke | Drop | GiveVote | Note | HandOver


@dataclass(frozen=True, slots=True)
class Outcome:
    """`steps` in order, all possible now; `waits` says for each node why its role stays as it is.
    `learners`: somebody is catching up, which no commit tells."""

    steps: tuple[Step, ...] = ()
    waits: Mapping[str, str] = field(default_factory=dict)
    learners: bool = False


def plan(
    nodes: Mapping[str, Node], membership: Membership, status: RaftStatus, now: float
) -> Outcome:
    """What a leader does now; `now` in seconds since the epoch."""
    steps: list[Step] = []
    waits: dict[str, str] = {}
    by_node = {member.node_id: member for member in membership.members}
    for node_id in sorted(nodes):
        node, member = nodes[node_id], by_node.get(node_id)
        try:
            step = _of_node(node, member, nodes, membership, status, now)
        except FailedPrecondition as error:
            waits[node_id] = error.message
            continue
        if step is not None:
            steps.append(step)
    steps += _of_members(nodes, membership, status)
    if not steps:
        steps += _of_leader(nodes, membership, status)
    learners = any(member.learner for member in membership.members)
    return Outcome(tuple(steps), waits, learners)


def _of_node(
    node: Node,
    member: Member | None,
    nodes: Mapping[str, Node],
    membership: Membership,
    status: RaftStatus,
    now: float,
) -> Step | None:
    if node.spec.role is NodeRole.MANAGER and node.role is NodeRole.WORKER:
        if now <= node.demoted_at + 1:
            # Certificates know whole seconds, and the next one must be later than the demotion.
            raise FailedPrecondition("it was demoted a moment ago")
        return Grant(node.id)
    if node.spec.role is NodeRole.WORKER and member is not None:
        check_removal(membership.voters, reachable(status), member.raft_id)
        if member.raft_id == status.raft_id:
            to = successor(status, membership.voters, _unwanted(nodes, membership))
            return None if to is None else HandOver(to)
        return Drop(member.raft_id)
    if node.spec.role is NodeRole.WORKER and node.role is NodeRole.MANAGER:
        return Revoke(node.id)
    noted = (
        None if member is None else ManagerStatus(raft_id=member.raft_id, address=member.address)
    )
    return None if node.manager == noted else Note(node.id, noted)


def _of_members(
    nodes: Mapping[str, Node], membership: Membership, status: RaftStatus
) -> Iterable[Step]:
    for member in membership.members:
        if member.node_id not in nodes:
            # A node that was removed while it joined. The leader's own record of a new swarm may
            # be on its way.
            rest = set(membership.voters) - {member.raft_id}
            if member.raft_id != status.raft_id and decides(rest, reachable(status)):
                yield Drop(member.raft_id)
        elif (
            member.learner
            and nodes[member.node_id].spec.role is NodeRole.MANAGER
            and may_vote(status, membership.voters, member.raft_id)
        ):
            yield GiveVote(member)


def _of_leader(
    nodes: Mapping[str, Node], membership: Membership, status: RaftStatus
) -> Iterable[Step]:
    own = membership.get(status.raft_id)
    node = nodes.get(own.node_id) if own is not None else None
    if node is None or node.spec.availability is not Availability.DRAIN:
        return
    unwanted = _unwanted(nodes, membership)
    to = successor(status, membership.voters, unwanted)
    if to is not None and to not in unwanted:
        yield HandOver(to)


def _unwanted(nodes: Mapping[str, Node], membership: Membership) -> frozenset[int]:
    """The members that had better not lead: drained, or on their way out."""
    return frozenset(
        member.raft_id
        for member in membership.members
        if (node := nodes.get(member.node_id)) is not None
        and (node.spec.availability is Availability.DRAIN or node.spec.role is not NodeRole.MANAGER)
    )


def unwanted(nodes: Iterable[Node], membership: Membership) -> frozenset[int]:
    """The raft ids of the members that had better not lead."""
    return _unwanted({node.id: node for node in nodes}, membership)


def check_demotion(
    node: Node, nodes: Iterable[Node], membership: Membership, status: RaftStatus
) -> None:
    """Refuse a demotion after which nobody, or too few of the managers, could decide anything.

    Managers whose demotion is under way do not count any more. FailedPrecondition.
    """
    leaving = {n.id for n in nodes if n.spec.role is NodeRole.WORKER} | {node.id}
    voters = [m for m in membership.members if not m.learner]
    own = next((m for m in voters if m.node_id == node.id), None)
    if own is None:
        return
    if all(m.node_id in leaving for m in voters):
        raise FailedPrecondition("attempting to demote the last manager of the swarm")
    staying = {m.raft_id for m in voters if m.node_id not in leaving}
    check_removal(staying | {own.raft_id}, reachable(status), own.raft_id)
