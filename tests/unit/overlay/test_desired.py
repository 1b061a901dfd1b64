from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from overlay.desired import (
    LOCAL_NETWORK,
    Attached,
    Leg,
    choose_local_subnet,
    free_local_address,
    head,
    legs_of,
    local_set,
    needs_local,
    own_index,
    router,
)
from pyswarm.errors import ResourceExhausted
from pyswarm.model import (
    EndpointSet,
    EndpointState,
    NetworkAttachment,
    NodeEndpoint,
    ServiceEndpoint,
    TaskEndpoint,
)

NODES = tuple(NodeEndpoint(node_id=f"n{i}", address=f"192.168.0.{i}", index=i) for i in range(1, 4))


def task(task_id, node, last, **more):
    return TaskEndpoint(
        task_id=task_id,
        service_id="web",
        node_id=f"n{node}",
        address=f"10.0.1.{last}",
        ready=True,
        **more,
    )


WEB = EndpointSet(
    network_id="back",
    network_name="back",
    subnet="10.0.1.0/24",
    gateway="10.0.1.1",
    vni=4097,
    services=(ServiceEndpoint(service_id="web", name="web", virtual_ip="10.0.1.2"),),
    tasks=(task("a", 1, 11), task("b", 2, 12), task("c", 3, 13)),
    nodes=NODES,
)
HEAD = head(WEB, 1, "192.168.0.1", 1500)
SETS = {
    "back": WEB,
    "front": replace(WEB, network_id="front"),
    "inner": replace(WEB, network_id="inner", internal=True),
    "ingress": replace(WEB, network_id="ingress", ingress=True),
}


def leg(task_id, last):
    return Leg(task_id=task_id, network_id="back", device="eth0", address=f"10.0.1.{last}")


def way_out(*network_ids, host_ports=False):
    """The network of each leg, the one with the way out in capitals."""
    wish = [NetworkAttachment(network_id=n, address="10.0.1.9/24") for n in network_ids]
    legs = legs_of("t", wish, SETS, has_host_ports=host_ports, local_address="172.18.0.2")
    assert [one.device for one in legs] == [f"eth{n}" for n in range(len(legs))]
    local = any(one.network_id == LOCAL_NETWORK for one in legs)
    assert local == needs_local(wish, SETS, has_host_ports=host_ports)
    return [n.network_id.upper() if n.exit else n.network_id for n in legs]


def test_the_way_out_is_the_first_open_network_and_ingress_only_as_a_last_choice():
    assert way_out("back", "front") == ["BACK", "front"]
    assert way_out("inner", "ingress", "front") == ["inner", "ingress", "FRONT"]
    assert way_out("inner", "ingress") == ["inner", "INGRESS"]
    assert way_out("inner") == ["inner"]


def test_the_local_network_is_for_those_that_have_no_other_way():
    assert way_out() == ["LOCAL"]
    assert way_out("inner", host_ports=True) == ["inner", "LOCAL"]
    assert way_out("back", host_ports=True) == ["BACK"]


def test_remote_tasks_are_routed_to_their_node_and_local_ones_to_their_leg():
    found = router(WEB, HEAD, "n1", [leg("a", 11)], ())
    assert found.remote == {"10.0.1.12": "169.254.64.2", "10.0.1.13": "169.254.64.3"}
    assert [one.task_id for one in found.legs] == ["a"]
    assert {peer.underlay for peer in found.peers} == {"192.168.0.2", "192.168.0.3"}
    assert found.vips == {"10.0.1.2": ("10.0.1.11", "10.0.1.12", "10.0.1.13")}


def test_a_task_on_an_unknown_node_has_no_route():
    found = router(replace(WEB, nodes=NODES[:2]), HEAD, "n1", [], ())
    assert "10.0.1.13" not in found.remote


def test_draining_unready_and_dead_tasks_have_routes_but_no_new_connections():
    drained = replace(
        WEB,
        tasks=(
            task("a", 1, 11),
            replace(task("b", 2, 12), state=EndpointState.DRAINING),
            replace(task("c", 3, 13), ready=False),
        ),
    )
    found = router(drained, HEAD, "n1", [leg("a", 11)], {"a"})
    assert found.vips == {}
    assert set(found.remote) == {"10.0.1.12", "10.0.1.13"}
    assert found.members == {"10.0.1.12": "b", "10.0.1.13": "c"}


def test_an_address_that_changed_hands_belongs_to_whom_the_set_names():
    found = router(WEB, HEAD, "n1", [leg("a", 11), leg("old", 12), leg("new", 50)], ())
    assert sorted(one.task_id for one in found.legs) == ["a", "new"]
    assert found.remote["10.0.1.12"] == "169.254.64.2"


def test_the_mtu_is_what_the_underlay_leaves_or_what_was_asked_for():
    assert head(WEB, 1, "192.168.0.1", 1400).mtu_bytes == 1350
    assert head(replace(WEB, mtu_bytes=1200), 1, "192.168.0.1", 1400).mtu_bytes == 1200
    assert head(local_set("172.18.0.0/16"), 0, "192.168.0.1", 1400).mtu_bytes == 1400


def test_the_nodes_number_comes_from_any_set_that_names_it():
    assert own_index("n2", [replace(WEB, nodes=()), WEB]) == 2
    assert own_index("n9", [WEB]) == 0


def test_the_local_subnet_avoids_what_the_host_uses():
    assert choose_local_subnet([]) == "172.18.0.0/16"
    assert choose_local_subnet([IPv4Network("172.16.0.0/12")]) == "192.168.0.0/20"
    with pytest.raises(ResourceExhausted, match="in use"):
        choose_local_subnet([IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")])


def test_local_addresses_are_used_again_and_run_out_in_words():
    subnet = "172.18.0.0/29"

    def at(number):
        address = f"172.18.0.{number}"
        one = Leg(task_id=f"{number}", network_id=LOCAL_NETWORK, device="eth0", address=address)
        return Attached(task_id=one.task_id, legs=(one,))

    assert free_local_address(subnet, [at(2), at(4)]) == "172.18.0.3"
    with pytest.raises(ResourceExhausted, match="no free address"):
        free_local_address(subnet, [at(n) for n in range(2, 7)])
