"""What a node remembers of its swarm."""

import pytest

from pyswarm.daemon.membership import MembershipFile, SwarmMembership
from pyswarm.errors import DataLoss

MEMBERSHIP = SwarmMembership(
    node_id="n", cluster_id="c", address="192.0.2.1:2377", manager=True, managers=("a:1", "b:2")
)


def test_what_is_saved_is_loaded(tmp_path):
    file = MembershipFile(tmp_path)
    assert file.load() is None
    file.save(MEMBERSHIP)
    assert MembershipFile(tmp_path).load() == MEMBERSHIP
    file.remove()
    assert file.load() is None


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "swarm.json").write_text('{"node_id": ')
    with pytest.raises(DataLoss, match=r"swarm\.json is damaged: restore it"):
        MembershipFile(tmp_path).load()
