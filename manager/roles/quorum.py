"""Which changes of the managers are safe, and the numbers that managers bear in raft."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from manager.raft.status import RaftStatus
from pyswarm.errors import FailedPrecondition


def raft_id_of(node_id: str) -> int:
    """A node's raft id: positive, 63 bits, from its id, so that both sides know it."""
    return int.from_bytes(sha256(node_id.encode()).digest()[:8], "big") >> 1 or 1


def reachable(status: RaftStatus) -> frozenset[int]:
    """The members that answered the leader lately, itself included."""
    return frozenset({status.raft_id, *(p.raft_id for p in status.peers if p.reachable)})


def check_removal(voters: Collection[int], reachable: Collection[int], leaving: int) -> None:
    """Refuse to take `leaving` out where the rest could not decide anything afterwards."""
    rest = set(voters) - {leaving}
    if not rest:
        raise FailedPrecondition(
            "this is the last manager: with it the swarm would end, use --force to end it"
        )
    alive = len(rest & set(reachable))
    if alive < len(rest) // 2 + 1:
        raise FailedPrecondition(
            "can't remove member from the raft: this would result in a loss of quorum "
            f"({alive} of the other {len(rest)} managers are reachable)"
        )
