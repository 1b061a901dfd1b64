"""The DNS names in certificates."""

import pytest

from pyswarm.model.identity import UNITS, names, node_name, role_name
from pyswarm.model.ids import encode_id
from pyswarm.model.states import NodeRole


def test_a_manager_answers_to_both_roles_and_a_worker_to_one():
    assert names("n1", NodeRole.MANAGER) == (
        "n1.node.pyswarm",
        "manager.role.pyswarm",
        "worker.role.pyswarm",
    )
    assert names("n1", NodeRole.WORKER) == ("n1.node.pyswarm", "worker.role.pyswarm")


@pytest.mark.parametrize("role", NodeRole)
def test_every_role_has_a_unit_and_names_are_valid_dns(role):
    assert UNITS[role] == f"swarm-{role.name.lower()}"
    for name in (role_name(role), node_name(encode_id(b"\xff" * 17))):
        assert all(0 < len(label) <= 63 for label in name.split("."))
