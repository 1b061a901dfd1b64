"""A manager's certificate counts no more once its bearer was demoted."""

from __future__ import annotations

from dataclasses import replace

from certs.x509 import BACKDATE_SECONDS
from manager.roles.access import demoted, refused_by
from manager.state import Changed
from pyswarm.model import Cluster, Node, NodeRole
from pyswarm.model.identity import Identity


def made_at(time: float) -> Identity:
    """A manager's certificate."""
    return Identity(
        node_id="n1",
        role=NodeRole.MANAGER,
        cluster_id="c",
        serial="1",
        valid_from=float(int(time)) - BACKDATE_SECONDS,
    )


def test_certificates_up_to_the_demotion_count_no_more_and_later_ones_do() -> None:
    node = Node(id="n1", demoted_at=1000.5)
    assert demoted(node, made_at(500.0))
    assert demoted(node, made_at(1000.4))
    assert not demoted(node, made_at(1001.6))


def test_a_manager_that_does_not_know_the_node_or_its_demotion_refuses_nobody() -> None:
    assert not demoted(None, made_at(500.0))
    assert not demoted(Node(id="n1"), made_at(500.0))


def test_a_commit_tells_whom_to_cut_off() -> None:
    one, two = Node(id="n1"), Node(id="n2")
    before = Cluster(id="c", removed_nodes={"n8": 9.0})
    changes = [
        Changed(Node, "n1", one, replace(one, demoted_at=5.0)),
        Changed(Node, "n2", two, replace(two, role=NodeRole.MANAGER)),
        Changed(Cluster, "c", before, replace(before, removed_nodes={"n8": 9.0, "n9": 9.0})),
    ]
    assert refused_by(changes) == {"n1", "n9"}
