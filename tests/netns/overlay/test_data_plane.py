"""Routes, virtual addresses and isolation on the real kernel."""

import importlib.util
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
Net, apply_all, wait_for = lab.Net, lab.apply_all, lab.wait_for

pytestmark = pytest.mark.netns


def web_of_three(hosts):
    """A caller on node1 and a service `web` with a task on each node."""
    nodes = hosts.start()
    net = Net()
    net.service("web", 2)
    net.service("caller", 3)
    net.task("a", 1, 11, "caller")
    for n in (1, 2, 3):
        net.task(f"w{n}", n, 20 + n, "web")
    apply_all(nodes, net)
    caller = hosts.attach(nodes[0], "a", net.attachment("a"))
    webs = {}
    for n, node in enumerate(nodes, 1):
        webs[f"w{n}"] = hosts.attach(node, f"w{n}", net.attachment(f"w{n}"))
        webs[f"w{n}"].serve(f"w{n}")
    return nodes, net, caller, webs


def test_containers_reach_each_other_on_one_host_and_across_hosts(hosts):
    _, _, caller, webs = web_of_three(hosts)
    for n in (1, 2, 3):
        assert caller.ping(f"10.0.1.2{n}")
        assert caller.ask(f"10.0.1.2{n}") == [f"w{n}", "10.0.1.11"]
    assert webs["w3"].ask("10.0.1.22") == ["w2", "10.0.1.23"]


def test_a_virtual_address_spreads_over_all_backends_which_see_the_caller(hosts):
    _, _, caller, webs = web_of_three(hosts)
    seen = Counter(tuple(caller.ask("10.0.1.2")) for _ in range(60))
    assert set(seen) == {(f"w{n}", "10.0.1.11") for n in (1, 2, 3)}
    # Balanced to itself, a container sees the gateway; to the others, they see it.
    mine = {tuple(webs["w2"].ask("10.0.1.2")) for _ in range(60)}
    assert mine == {("w1", "10.0.1.22"), ("w2", "10.0.1.1"), ("w3", "10.0.1.22")}


def test_a_backend_that_is_gone_resets_its_clients_and_gets_no_new_ones(hosts):
    nodes, net, caller, webs = web_of_three(hosts)
    held = {}
    while set(held) != {"w1", "w2", "w3"}:
        one, words = caller.connect("10.0.1.2")
        held[words[0]] = one
    webs["w3"].close()
    del net.tasks["w3"]
    nodes[2].call("detach", "w3")
    apply_all(nodes, net)
    with pytest.raises(ConnectionResetError):
        lab.say(held["w3"], times=2)
    held["w2"].sendall(b"yes\n")
    assert held["w2"].recv(100) == b"yes\n"
    assert {caller.ask("10.0.1.2")[0] for _ in range(30)} == {"w1", "w2"}


def test_a_draining_backend_keeps_its_connections_and_gets_no_new_ones(hosts):
    nodes, net, caller, _ = web_of_three(hosts)
    held = {}
    while set(held) != {"w1", "w2", "w3"}:
        one, words = caller.connect("10.0.1.2")
        held[words[0]] = one
    from pyswarm.model import EndpointState

    net.task("w3", 3, 23, "web", ready=False, state=EndpointState.DRAINING)
    apply_all(nodes, net)
    assert {caller.ask("10.0.1.2")[0] for _ in range(30)} == {"w1", "w2"}
    held["w3"].sendall(b"still\n")
    assert held["w3"].recv(100) == b"still\n"


def test_without_a_backend_connections_fail_at_once_and_held_ones_are_reset(hosts):
    nodes, net, caller, _ = web_of_three(hosts)
    held, _words = caller.connect("10.0.1.2")
    for n in (1, 2, 3):
        del net.tasks[f"w{n}"]
        nodes[n - 1].call("detach", f"w{n}")
    apply_all(nodes, net)
    with pytest.raises(OSError, match=r"refused|No route"):
        caller.ask("10.0.1.2", timeout=20)
    with pytest.raises(ConnectionResetError):
        lab.say(held)
    with pytest.raises(OSError, match=r"refused|No route"):
        caller.ask("10.0.1.99", timeout=20)


def test_a_container_marked_dead_leaves_the_virtual_address_of_its_host_at_once(hosts):
    nodes, _, caller, _ = web_of_three(hosts)
    nodes[0].call("mark_dead", "w1")
    assert {caller.ask("10.0.1.2")[0] for _ in range(30)} == {"w2", "w3"}


def test_a_service_of_more_backends_than_chains_gets_new_chains(hosts):
    (node,) = hosts.start(1)
    net = Net()
    net.service("web", 2)
    net.task("a", 1, 11, "caller")
    apply_all([node], net)
    caller = hosts.attach(node, "a", net.attachment("a"))
    server = None
    for n in range(20, 60):
        net.task(f"w{n}", 1 if n == 20 else 2, n, "web")
    apply_all([node], net)
    server = hosts.attach(node, "w20", net.attachment("w20"))
    server.serve("w20")
    router = f"/proc/{node.process.pid}/root/run/overlay/routers/net1"
    assert "lb_40" in node.sh(f"nsenter --net={router} nft list map ip pyswarm vips")
    for n in range(21, 60):
        del net.tasks[f"w{n}"]
    apply_all([node], net)
    assert caller.ask("10.0.1.2")[0] == "w20"


def test_networks_are_closed_against_each_other(hosts):
    nodes = hosts.start(2)
    one, two = Net(1), Net(2)
    one.task("a", 1, 11, "a")
    two.task("b", 1, 11, "b")
    two.task("c", 2, 12, "c")
    apply_all(nodes, one, two)
    a = hosts.attach(nodes[0], "a", one.attachment("a"))
    b = hosts.attach(nodes[0], "b", two.attachment("b"))
    c = hosts.attach(nodes[1], "c", two.attachment("c"))
    b.serve("b")
    c.serve("c")
    assert c.ask("10.0.2.11")[0] == "b"
    with pytest.raises(OSError, match=r"refused|No route|unreachable|prohibited"):
        a.ask("10.0.2.11")
    with pytest.raises(OSError, match=r"timed out|No route|unreachable|prohibited"):
        a.ask("10.0.2.12", timeout=2)


def test_a_container_reaches_the_outside_with_its_hosts_address(hosts):
    nodes = hosts.start(2)
    net, internal = Net(1), Net(2, internal=True)
    net.task("a", 1, 11, "a")
    internal.task("b", 1, 11, "b")
    internal.task("c", 2, 12, "c")
    apply_all(nodes, net, internal)
    hosts.client.serve("outside", 8000)
    a = hosts.attach(nodes[0], "a", net.attachment("a"))
    assert a.ask(lab.OUTSIDE, 8000) == ["outside", "192.168.77.1"]
    bare = hosts.attach(nodes[1], "bare")
    assert bare.ask(lab.OUTSIDE, 8000) == ["outside", "192.168.77.2"]
    b = hosts.attach(nodes[0], "b", internal.attachment("b"))
    c = hosts.attach(nodes[1], "c", internal.attachment("c"))
    c.serve("c")
    assert b.ask("10.0.2.12")[0] == "c"
    for address in (lab.OUTSIDE, "192.168.77.1", "10.0.1.11"):
        with pytest.raises(OSError, match="unreachable"):
            b.ask(address, 8000)


def test_a_container_in_two_networks_uses_the_right_one_for_each(hosts):
    nodes = hosts.start(2)
    one, two = Net(1), Net(2)
    one.task("both", 1, 11, "x")
    two.task("both", 1, 12, "x")
    one.task("p", 2, 21, "p")
    two.task("q", 2, 22, "q")
    apply_all(nodes, one, two)
    both = hosts.attach(nodes[0], "both", one.attachment("both"), two.attachment("both"))
    for name, net in (("p", one), ("q", two)):
        hosts.attach(nodes[1], name, net.attachment(name)).serve(name)
    assert both.ask("10.0.1.21") == ["p", "10.0.1.11"]
    assert both.ask("10.0.2.22") == ["q", "10.0.2.12"]


def test_vxlan_of_a_stranger_is_dropped_and_the_mtu_follows_the_underlay(hosts):
    nodes = hosts.all[:1]
    nodes[0].sh("ip link set eth0 mtu 1400")
    hosts.start(1)
    net = Net()
    net.task("a", 1, 11, "a")
    apply_all(nodes, net)
    a = hosts.attach(nodes[0], "a", net.attachment("a"))
    a.serve("a")
    links = a.inside(socket.if_nameindex)
    assert [name for _, name in links] == ["lo", "eth0"]
    assert "mtu 1350" in hosts.all[0].sh(f"nsenter --net={a.net} ip link show eth0")
    # The stranger speaks like node2, whose address it has not.
    hosts.client_host.sh(
        "ip link add vx type vxlan id 4097 dstport 4789 local 192.168.77.200 nolearning;"
        "ip link set vx address 02:76:00:00:00:02 up; ip addr add 169.254.64.2/18 dev vx;"
        "bridge fdb add 02:76:00:00:00:01 dev vx dst 192.168.77.1;"
        "ip neigh replace 169.254.64.1 lladdr 02:76:00:00:00:01 dev vx;"
        "ip route add 10.0.1.0/24 via 169.254.64.1 dev vx"
    )
    with pytest.raises(TimeoutError):
        hosts.client.ask("10.0.1.11", timeout=1)


def test_the_last_answer_of_a_task_that_ended_arrives_before_its_namespace_goes(hosts):
    nodes, net, caller, webs = web_of_three(hosts)
    for n in (1, 2):
        net.task(f"w{n}", n, 20 + n, "web", ready=False)
    apply_all(nodes, net)
    size = 3_000_000
    listener = webs["w3"].inside(lambda: socket.create_server(("0.0.0.0", 81)))
    client = caller.inside(lambda: socket.create_connection(("10.0.1.2", 81), timeout=20))
    server, _ = listener.accept()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    server.settimeout(20)
    writer = threading.Thread(target=server.sendall, args=(bytes(size),))
    writer.start()
    time.sleep(0.3)  # the client is slow: both buffers are full
    received = 0
    while writer.is_alive():
        received += len(client.recv(65536))
    server.close()  # what the kernel has is on its way, and the program ends

    def end():
        nodes[2].call("flush", "w3")
        nodes[2].call("mark_dead", "w3")
        nodes[2].call("detach", "w3")

    ending = threading.Thread(target=end)
    ending.start()
    while data := client.recv(65536):
        received += len(data)
        time.sleep(0.005)
    ending.join()
    client.close(), listener.close()
    assert received == size
