"""What a node remembers of its swarm."""

from dataclasses import replace

import pytest

from pyswarm.daemon.membership import MembershipFile, SwarmMembership
from pyswarm.errors import DataLoss
from pyswarm.testing.power_cut import PowerCut

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


@pytest.mark.parametrize("before", [None, MEMBERSHIP])
def test_a_crash_at_any_point_leaves_the_old_or_the_new_content(tmp_path, before):
    after = replace(MEMBERSHIP, managers=("c:3",))
    if before is not None:
        MembershipFile(tmp_path).save(before)
    wrecks = []
    cut = PowerCut(tmp_path)
    with cut.watching(lambda point: wrecks.extend((point, wreck) for wreck in cut.wrecks())):
        MembershipFile(tmp_path).save(after)
        wrecks.extend(("saved", wreck) for wreck in cut.wrecks())
        MembershipFile(tmp_path).remove()
    wrecks.extend(("removed", wreck) for wreck in cut.wrecks())
    assert len({point for point, _ in wrecks}) == 6
    for point, wreck in wrecks:
        wreck.lay_out(tmp_path / "wreck")
        allowed = {
            "saved": (after,),
            "membership.removed": (after, None),
            "removed": (None,),
        }.get(point, (before, after))
        assert MembershipFile(tmp_path / "wreck").load() in allowed, point
