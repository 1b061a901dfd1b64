"""The catalogue of raft, of its disk and of the store on top of it."""

from __future__ import annotations

from pyswarm.testing.planted_bugs.raft import clients, disks, logs, store, votes

BUGS = [*votes.BUGS, *logs.BUGS, *clients.BUGS, *disks.BUGS, *store.BUGS]
