"""A node that the managers have removed says so, and nothing of it is left once it has left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyswarm.api.v1 import control_pb2, recovery_pb2
from pyswarm.daemon.membership import SwarmMembership
from pyswarm.daemon.recovery import RecoverableNode, RecoveryServer
from pyswarm.daemon.server import ControlHere
from pyswarm.daemon.settings import Settings
from pyswarm.errors import FailedPrecondition

REMOVED = "this node was removed from the swarm: use 'pyswarm swarm leave' to clean it up"


def removed(path: Path) -> RecoverableNode:
    """A manager that was removed while it was off."""
    node = RecoverableNode(Settings(state_directory=path, run_directory=path), None, "")
    node.membership = SwarmMembership(
        node_id="n", cluster_id="c", address="192.0.2.1:2377", manager=True
    )
    node._was_removed()
    return node


def test_it_leaves_without_force_and_remembers_nothing_in_its_next_swarm(tmp_path: Path) -> None:
    node = removed(tmp_path)
    asyncio.run(node.leave(force=False))
    assert node.membership is None
    assert node.problem == ""
    assert not node.removed, "or it would leave the next swarm without a word"


def test_it_neither_advises_nor_goes_on_from_what_it_knew(tmp_path: Path) -> None:
    node = removed(tmp_path)
    node.manager = SimpleNamespace(control=None)
    server = RecoveryServer(node)
    for call in (
        server.Status(control_pb2.Empty(), None),
        server.ForceNewCluster(recovery_pb2.ForceNewClusterRequest(dry_run=True), None),
    ):
        with pytest.raises(FailedPrecondition, match="removed from the swarm"):
            asyncio.run(call)
    details = SimpleNamespace(method="/pyswarm.api.v1.Control/ListNodes")
    handler = ControlHere(node).service(details)
    with pytest.raises(FailedPrecondition, match=REMOVED):
        asyncio.run(handler.unary_unary(None, None))
