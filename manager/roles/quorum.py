"""Which changes of the managers are safe: none may leave too few of them to decide anything."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from manager.raft.status import RaftStatus
from pyswarm.errors import FailedPrecondition

LAG_ENTRIES = 64
"""A learner that is at most this far behind gets its vote; the rest comes with the next append."""


def raft_id_of(node_id: str) -> int:
    """The raft id of a swarm's first manager: positive, 63 bits. Later ones are drawn, since a
    manager that was demoted comes back under a new one."""
    return int.from_bytes(sha256(node_id.encode()).digest()[:8], "big") >> 1 or 1


def reachable(status: RaftStatus) -> frozenset[int]:
    """The members that answered the leader lately, itself included."""
    return frozenset({status.raft_id, *(p.raft_id for p in status.peers if p.reachable)})


def decides(voters: Collection[int], alive: Collection[int]) -> bool:
    """Whether a majority of `voters` is among those `alive`."""
    return len(set(voters) & set(alive)) >= len(voters) // 2 + 1


def check_removal(voters: Collection[int], reachable: Collection[int], leaving: int) -> None:
    """Refuse to take `leaving` out where the rest could not decide anything afterwards."""
    if leaving not in voters:
        return
    rest = set(voters) - {leaving}
    if not rest:
        raise FailedPrecondition(
            "this is the last manager: with it the swarm would end, use --force to end it"
        )
    if not decides(rest, reachable):
        raise FailedPrecondition(
            "can't remove member from the raft: this would result in a loss of quorum "
            f"({len(rest & set(reachable))} of the other {len(rest)} managers are reachable): "
            "bring them back first, or remove those that are lost"
        )


def may_vote(status: RaftStatus, voters: Collection[int], learner: int) -> bool:
    """Whether the leader may give a learner its vote: it has caught up, answers, and with it a
    majority is there."""
    found = next((peer for peer in status.peers if peer.raft_id == learner), None)
    if found is None or not found.reachable or status.commit - found.match > LAG_ENTRIES:
        return False
    return decides({*voters, learner}, reachable(status))


def successor(
    status: RaftStatus, voters: Collection[int], avoid: Collection[int] = ()
) -> int | None:
    """Who takes over the leadership: of the reachable voters the one that is furthest, one of
    `avoid` only where there is nobody else; None where there is nobody at all."""
    peers = [p for p in status.peers if p.reachable and p.raft_id in voters]
    if not peers:
        return None
    return max(peers, key=lambda p: (p.raft_id not in avoid, p.match, p.raft_id)).raft_id
