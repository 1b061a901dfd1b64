"""What a manager can say about the consensus, for `node ls` and for people who look for a fault."""

from __future__ import annotations

from dataclasses import dataclass

from manager.raft.core import Raft
from manager.raft.leader import Leader


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer as the leader sees it. `reachable`: it answered within an election's time; that is
    not `known` of one that a new leader has not heard yet and cannot have missed yet."""

    raft_id: int
    match: int
    next: int
    state: str
    reachable: bool
    known: bool = True


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """One member's view; `peers` only on the leader."""

    raft_id: int
    role: str
    term: int
    leader_id: int
    commit: int
    applied: int
    first_index: int
    last_index: int
    snapshot_index: int
    last_term: int = 0
    peers: tuple[PeerStatus, ...] = ()


def status_of(raft: Raft) -> RaftStatus:
    """The status of this moment."""
    peers: tuple[PeerStatus, ...] = ()
    if isinstance(raft.role, Leader):
        peers = tuple(
            PeerStatus(
                peer,
                found.match,
                found.next,
                found.state.value,
                found.active,
                found.replied or not found.active,
            )
            for peer, found in sorted(raft.role.progress.items())
        )
    return RaftStatus(
        raft_id=raft.id,
        role=raft.role.name,
        term=raft.term,
        leader_id=raft.leader_id,
        commit=raft.log.commit,
        applied=raft.log.applied,
        first_index=raft.log.base_index + 1,
        last_index=raft.log.last_index,
        snapshot_index=raft.log.snapshot.index,
        last_term=raft.log.last_term,
        peers=peers,
    )
