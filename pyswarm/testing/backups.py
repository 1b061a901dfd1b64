"""What a backup holds, for tests that are about something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from manager.raft.membership import Member, Membership
from manager.recovery.backup import Manifest

_MANIFEST: Final = Manifest(
    created_at=1_700_000_000.0,
    pyswarm_version="0.1.0",
    cluster_id="c",
    node_id="n",
    hostname="m1",
    index=17,
    term=3,
    membership=Membership.of([Member(5, "n", "10.0.0.1:2377")]),
    state_bytes=3,
    counts={"services": 2},
)


def manifest(**more: Any) -> Manifest:
    """A manifest with these fields."""
    return replace(_MANIFEST, **more)
