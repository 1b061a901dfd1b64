from dataclasses import replace

from overlay.fdb import Peer, peers, remote_routes
from pyswarm.model import EndpointSet, NodeEndpoint, TaskEndpoint

SET = EndpointSet(
    network_id="n",
    vni=4097,
    nodes=(
        NodeEndpoint(node_id="a", address="192.168.0.1", index=1),
        NodeEndpoint(node_id="b", address="192.168.0.2", index=300),
    ),
    tasks=(
        TaskEndpoint(task_id="1", node_id="a", address="10.0.0.3"),
        TaskEndpoint(task_id="2", node_id="b", address="10.0.0.4"),
        TaskEndpoint(task_id="3", node_id="gone", address="10.0.0.5"),
    ),
)


def test_a_peer_is_a_node_and_never_a_task():
    assert peers(SET, "a") == {Peer("169.254.65.44", "02:76:00:00:01:2c", "192.168.0.2")}


def test_only_tasks_of_known_other_nodes_are_routed():
    assert remote_routes(SET, "a") == {"10.0.0.4": "169.254.65.44"}


def test_a_node_without_address_or_number_is_no_peer():
    broken = replace(
        SET,
        nodes=(
            NodeEndpoint(node_id="b", address="", index=2),
            NodeEndpoint(node_id="c", address="192.168.0.3", index=0),
        ),
    )
    assert peers(broken, "a") == frozenset()


def test_a_network_without_vxlan_knows_nobody_else():
    local = replace(SET, vni=0)
    assert (peers(local, "a"), remote_routes(local, "a")) == (frozenset(), {})
