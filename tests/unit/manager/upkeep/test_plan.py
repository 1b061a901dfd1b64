"""What has to go."""

from dataclasses import replace

from manager.state import Transaction, View
from manager.upkeep.plan import plan
from pyswarm.model import Config, Node, PayloadSpec, Volume, VolumeOnNode, VolumeSpec


def planned(*records):
    tx = Transaction(View(), 1.0)
    tx.put(Node(id="a"))
    for record in records:
        tx.put(record)
    done = plan(tx.view)
    return [r.id for r in done.deleted], [r.id for r in done.changed]


HERE, GONE = VolumeOnNode(node_id="a"), VolumeOnNode(node_id="gone")
VOLUME = Volume(id="v", spec=VolumeSpec(name="data"))


def test_a_volume_loses_the_nodes_that_are_no_members_any_more():
    assert planned(replace(VOLUME, nodes=(HERE, GONE))) == ([], ["v"])
    assert planned(replace(VOLUME, nodes=(HERE,))) == ([], [])
    assert planned(VOLUME) == ([], []), "a volume that no task has needed yet"


def test_a_removed_volume_goes_with_its_last_node():
    going = replace(VOLUME, pending_delete=True)
    assert planned(replace(going, nodes=(HERE,))) == ([], [])
    assert planned(replace(going, nodes=(GONE,))) == (["v"], [])
    assert planned(going) == (["v"], [])


def test_old_versions_go():
    versions = [Config(id=f"c{n}", version=n, spec=PayloadSpec(name="c")) for n in (1, 2, 3)]
    assert planned(*versions) == (["c1"], [])
