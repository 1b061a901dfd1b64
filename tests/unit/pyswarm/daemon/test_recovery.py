"""What a daemon refuses to restore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from manager.raft.membership import Membership
from manager.recovery.backup import Manifest
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.api.v1.recovery_pb2 import RestoreChunk
from pyswarm.daemon import recovery
from pyswarm.errors import DataLoss, ResourceExhausted
from pyswarm.model import Cluster, RootCA
from pyswarm.testing.backups import manifest

MANIFEST = manifest(created_at=1.0, membership=Membership(), state_bytes=6, counts={})


def state(*chunks: RestoreChunk, manifest: Manifest = MANIFEST) -> bytes:
    async def stream() -> AsyncIterator[RestoreChunk]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(recovery._state(stream(), manifest))


def view(cluster: Cluster | None) -> View:
    tx = Transaction(View(), 1.0)
    if cluster is not None:
        tx.put(cluster)
    return tx.view


def test_the_state_is_taken_only_when_it_is_whole() -> None:
    first, second, end = (
        RestoreChunk(data=b"abc"),
        RestoreChunk(data=b"def"),
        RestoreChunk(last=True),
    )
    assert state(first, second, end) == b"abcdef"
    for broken in ((), (end,), (first, end), (first, second), (first, second, second, end)):
        with pytest.raises(DataLoss):
            state(*broken)
    with pytest.raises(ResourceExhausted):
        state(first, manifest=replace(MANIFEST, state_bytes=1 << 40))


def test_only_the_swarm_of_the_manifest_is_restored() -> None:
    whole = Cluster(id="c", root_ca=RootCA(key_pem=b"key"))
    assert recovery._restorable(view(whole), MANIFEST).id == "c"
    for wrong in (None, replace(whole, id="d")):
        with pytest.raises(DataLoss, match="another swarm"):
            recovery._restorable(view(wrong), MANIFEST)
