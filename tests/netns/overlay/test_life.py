"""Restart, recovery, repetition, and leaving nothing behind."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
_names = importlib.util.spec_from_file_location("names", Path(__file__).with_name("test_names.py"))
names = importlib.util.module_from_spec(_names)
_names.loader.exec_module(names)
Net, apply_all, tcp = lab.Net, lab.apply_all, lab.tcp

pytestmark = pytest.mark.netns


def world(hosts):
    """Two nodes, `web` on both, in a network of its own and published on 8080."""
    nodes = hosts.start(2)
    net, ingress = Net(1), Net(9, ingress=True)
    net.service("web", 2)
    ingress.service("web", 2, ports=[tcp(8080, 80)])
    for n in (1, 2):
        net.task(f"w{n}", n, 20 + n, "web")
        ingress.task(f"w{n}", n, 20 + n, "web")
    apply_all(nodes, net, ingress)
    webs = []
    for n in (1, 2):
        web = hosts.attach(
            nodes[n - 1], f"w{n}", net.attachment(f"w{n}"), ingress.attachment(f"w{n}")
        )
        web.serve(f"w{n}")
        webs.append(web)
    return nodes, net, ingress, webs


def test_a_restart_keeps_connections_and_answers_names_again(hosts):
    nodes, net, ingress, webs = world(hosts)
    held, _ = webs[0].connect("10.0.1.22")
    outside, _ = hosts.client.connect(nodes[0].address, 8080)
    nodes[0].call("stop")
    for one in (held, outside):
        one.sendall(b"on\n")
        assert one.recv(100) == b"on\n"
    assert {webs[0].ask("10.0.1.2")[0] for _ in range(20)} == {"w1", "w2"}
    nodes[0].start()
    assert nodes[0].call("attached") == ("w1",)
    assert hosts.client.ask(nodes[0].address, 8080)
    apply_all(nodes, net, ingress)
    assert names.ask(webs[0], "web") == ["10.0.1.2"]
    for one in (held, outside):
        one.sendall(b"on\n")
        assert one.recv(100) == b"on\n"
    assert {webs[0].ask("10.0.1.2")[0] for _ in range(20)} == {"w1", "w2"}
    assert {hosts.client.ask(nodes[0].address, 8080)[0] for _ in range(20)} == {"w1", "w2"}


def test_what_changed_during_a_restart_is_found_out(hosts):
    nodes, net, ingress, webs = world(hosts)
    held = {}
    while set(held) != {"w1", "w2"}:
        one, words = webs[0].connect("10.0.1.2")
        held[words[0]] = one
    nodes[0].call("stop")
    nodes[1].call("detach", "w2")
    webs[1].close()
    net.tasks.pop("w2"), ingress.tasks.pop("w2")
    nodes[0].start()
    apply_all(nodes, net, ingress)
    assert {webs[0].ask("10.0.1.2")[0] for _ in range(20)} == {"w1"}
    with pytest.raises(ConnectionResetError):
        lab.say(held["w2"], times=2)
    routes = nodes[0].sh(
        f"nsenter --net=/proc/{nodes[0].process.pid}/root/run/overlay/routers/net1 ip route"
    )
    assert "10.0.1.22" not in routes
    assert "10.0.1.21" in routes


def test_a_half_made_container_of_a_crash_is_removed(hosts):
    nodes, net, ingress, _ = world(hosts)
    nodes[0].call("stop")
    pid = nodes[0].process.pid
    run = f"/proc/{pid}/root/run/overlay"
    Path(f"{run}/netns/stranger").touch()
    nodes[0].sh(f"nsenter --net={run}/routers/net1 ip link add vstranger type veth peer name x")
    nodes[0].start()
    apply_all(nodes, net, ingress)
    assert not Path(f"{run}/netns/stranger").exists()
    links = nodes[0].sh(f"nsenter --net={run}/routers/net1 ip -o link")
    assert "vstranger" not in links
    assert "gw0" in links


def test_attach_and_detach_may_be_repeated(hosts):
    nodes, net, _, _ = world(hosts)
    path = nodes[0].call("attach", "w1", [net.attachment("w1")])
    assert path == "/run/overlay/netns/w1"
    for _ in range(2):
        nodes[0].call("detach", "w1")
    assert nodes[0].call("attached") == ()
    assert not Path(f"/proc/{nodes[0].process.pid}/root{path}").exists()
    again = hosts.attach(nodes[0], "w1", net.attachment("w1"))
    again.serve("again")
    assert {again.ask("10.0.1.2")[0] for _ in range(20)} == {"again", "w2"}


def test_a_node_that_moves_keeps_its_containers(hosts):
    nodes, net, ingress, webs = world(hosts)
    from dataclasses import replace

    nodes[1].call("stop")
    nodes[1].sh("ip addr add 192.168.77.22/24 dev eth0; ip addr del 192.168.77.2/24 dev eth0")
    nodes[1].sh("ip addr replace 192.168.77.22/24 dev eth0")
    nodes[1].address = "192.168.77.22"
    nodes[1].start()
    for one in (net, ingress):
        moved = tuple(
            replace(n, address="192.168.77.22") if n.node_id == "node2" else n
            for n in one.set.nodes
        )
        one.set = replace(one.set, nodes=moved)
    apply_all(nodes, net, ingress)
    assert webs[0].ask("10.0.1.22")[0] == "w2"


def test_destroy_leaves_nothing(hosts):
    look = "ip addr; ip route; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward"
    before = hosts.all[0].sh(look)
    nodes, _, _, _ = world(hosts)
    hosts.attach(nodes[0], "bare", host_ports=[tcp(9000, 80)])
    nodes[0].call("destroy")
    assert hosts.all[0].sh(look) == before
    root = Path(f"/proc/{nodes[0].process.pid}/root/run")
    assert [p for p in root.rglob("*") if p.is_file()] == []
    assert "overlay" not in Path(f"/proc/{nodes[0].process.pid}/mountinfo").read_text()


def test_a_network_that_nobody_uses_any_more_is_removed(hosts):
    nodes, net, ingress, _ = world(hosts)
    run = Path(f"/proc/{nodes[0].process.pid}/root/run/overlay/routers")
    assert {p.name for p in run.iterdir()} == {"net1", "net9"}
    apply_all(nodes, ingress)
    assert {p.name for p in run.iterdir()} == {"net1", "net9"}, "w1 is still in it"
    nodes[0].call("detach", "w1")
    apply_all(nodes, ingress)
    assert {p.name for p in run.iterdir()} == {"net9"}
    apply_all(nodes, net, ingress)
    assert {p.name for p in run.iterdir()} == {"net1", "net9"}
