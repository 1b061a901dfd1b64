from dataclasses import replace

import pytest

from overlay import plan
from overlay.desired import Head, Leg, Router
from overlay.fdb import Peer
from overlay.plan import HostState, RouterPlan
from overlay.ports import PublishedPort
from pyswarm.model import Protocol

HEAD = Head(vni=4097, subnet="10.0.0.0/24", gateway="10.0.0.1")
EMPTY = Router(network_id="n", head=HEAD)
B, C = Peer("169.254.64.2", "02:76:00:00:00:02", "1.2"), Peer("169.254.64.3", "03", "1.3")


def leg(task_id, last):
    return Leg(task_id=task_id, network_id="n", device="eth0", address=f"10.0.0.{last}")


BUSY = replace(
    EMPTY,
    peers=frozenset([B, C]),
    remote={"10.0.0.12": B.link_address, "10.0.0.13": C.link_address},
    legs=frozenset([leg("a", 11)]),
    vips={"10.0.0.2": ("10.0.0.11", "10.0.0.12")},
    members={"10.0.0.11": "a", "10.0.0.12": "b", "10.0.0.13": "c"},
)


def test_nothing_to_do_is_an_empty_plan():
    assert plan.router(BUSY, BUSY) == RouterPlan()


def test_a_fresh_router_gets_everything():
    found = plan.router(EMPTY, BUSY)
    assert found.peers_new == (B, C)
    assert found.routes_new == (("10.0.0.12", B.link_address), ("10.0.0.13", C.link_address))
    assert found.legs_new == (leg("a", 11),)
    assert (found.legs_gone, found.routes_gone, found.peers_gone, found.forget) == ((),) * 4


def test_a_task_that_is_gone_loses_its_route_and_its_connections():
    members = {k: v for k, v in BUSY.members.items() if v != "c"}
    found = plan.router(BUSY, replace(BUSY, remote={"10.0.0.12": B.link_address}, members=members))
    assert found == RouterPlan(routes_gone=("10.0.0.13",), forget=("10.0.0.13",))


def test_a_task_that_moves_here_keeps_its_new_route():
    moved = replace(
        BUSY,
        remote={"10.0.0.12": B.link_address},
        legs=BUSY.legs | {leg("d", 13)},
        members={**BUSY.members, "10.0.0.13": "d"},
    )
    found = plan.router(BUSY, moved)
    assert found.legs_new == (leg("d", 13),)
    assert found.routes_gone == ()
    assert found.forget == ("10.0.0.13",), "the connections of its former owner"


def test_a_node_that_changes_its_address_is_replaced_and_not_removed():
    there = replace(B, underlay="1.22")
    found = plan.router(BUSY, replace(BUSY, peers=frozenset([there, C])))
    assert (found.peers_new, found.peers_gone) == ((there,), ())


def test_what_was_read_from_the_kernel_is_written_anew_in_one_transaction():
    seen = replace(BUSY, members=dict.fromkeys([*BUSY.members, "10.0.0.99"], ""))
    found = plan.router(seen, BUSY, rewrite=True)
    assert "flush map ip pyswarm vips" in found.rules
    assert "add element ip pyswarm vips { 10.0.0.2 : goto lb_2 }" in found.rules
    assert found.forget == ("10.0.0.99",), "an unknown owner of an address in use is kept"


def test_another_head_is_a_bug_here():
    with pytest.raises(AssertionError, match="another router"):
        plan.router(BUSY, replace(BUSY, head=Head(vni=1)))


def test_larger_services_get_their_chains_first():
    many = tuple(f"10.0.1.{n}" for n in range(40))
    rules = plan.router(BUSY, replace(BUSY, vips={"10.0.0.2": many})).rules
    assert rules[0] == "add chain ip pyswarm lb_33"
    assert "goto lb_40" in rules[-1]


def test_an_unknown_host_is_written_anew_and_a_known_one_changed():
    port = PublishedPort(80, Protocol.TCP)
    state = HostState(nodes=frozenset(["1.2"]), published={port: (("10.0.0.3", 80),)})
    assert "flush map ip pyswarm published" in plan.host(None, state)
    assert plan.host(state, state) == ()
    assert plan.host(state, HostState()) == (
        "delete element ip pyswarm nodes { 1.2 }",
        "delete element ip pyswarm published { tcp . 80 : goto lb_1 }",
        "delete element ip pyswarm targets { tcp . 80 . 0 : 10.0.0.3 . 80 }",
    )
