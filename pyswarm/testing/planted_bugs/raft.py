"""The catalogue of raft, of its disk and of the store on top of it."""

from __future__ import annotations

from pyswarm.testing.planted_bugs import (
    raft_clients,
    raft_disks,
    raft_logs,
    raft_store,
    raft_votes,
)

BUGS = [
    *raft_votes.BUGS,
    *raft_logs.BUGS,
    *raft_clients.BUGS,
    *raft_disks.BUGS,
    *raft_store.BUGS,
]
