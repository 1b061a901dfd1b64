"""What a container must not be able to do to others, and what a crash must not leave broken."""

import importlib.util
import socket
import struct
from pathlib import Path

import pytest

from overlay.names import veth_name
from pyswarm.errors import Unavailable

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
Container, Net, apply_all, tcp, wait_for = (
    lab.Container,
    lab.Net,
    lab.apply_all,
    lab.tcp,
    lab.wait_for,
)

pytestmark = pytest.mark.netns


def watch(host, net, *conditions):
    """Count packets in the namespace `net`; answers how many each condition has met."""
    rules = "; ".join(f"{condition} counter" for condition in conditions)
    hook = "type filter hook prerouting priority -300"
    host.sh(
        f"nsenter --net={net} nft -f -",
        text=(f"table ip watch {{\nchain seen {{\n{hook}; {rules};\n}}\n}}\n"),
    )

    def seen():
        lines = host.sh(f"nsenter --net={net} nft list table ip watch").splitlines()
        return [int(line.split("packets ")[1].split()[0]) for line in lines if "packets" in line]

    return seen


def send(address, port, data=b"x"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(data, (address, port))


def test_a_container_cannot_forge_vxlan_under_its_hosts_address(hosts):
    nodes = hosts.start(2)
    closed, open_ = Net(1, internal=True), Net(2)
    closed.task("victim", 2, 21, "victim")
    open_.task("mallory", 1, 66, "mallory")
    apply_all(nodes, closed, open_)
    hosts.attach(nodes[1], "victim", closed.attachment("victim"))
    mallory = hosts.attach(nodes[0], "mallory", open_.attachment("mallory"))
    seen = watch(nodes[1], nodes[1].net, "udp dport 4789", "udp dport 4790")
    frame = b"\x08\0\0\0" + struct.pack(">I", closed.set.vni << 8) + bytes(60)
    for _ in range(5):
        mallory.inside(lambda: send("192.168.77.2", 4789, frame))
    mallory.inside(lambda: send("192.168.77.2", 4790))
    wait_for(lambda: seen()[1] == 1, "the packet that was sent last has arrived")
    assert seen()[0] == 0


def test_a_container_cannot_speak_under_another_ones_address(hosts):
    nodes = hosts.start(2)
    net = Net()
    for name, host, last in (("victim", 2, 21), ("mallory", 1, 66), ("other", 1, 11)):
        net.task(name, host, last, name)
    apply_all(nodes, net)
    victim = hosts.attach(nodes[1], "victim", net.attachment("victim"))
    mallory = hosts.attach(nodes[0], "mallory", net.attachment("mallory"))
    hosts.attach(nodes[0], "other", net.attachment("other"))
    seen = watch(
        nodes[1], victim.net, "ip saddr 10.0.1.11", "ip saddr 10.0.1.66 udp dport 9", "udp dport 10"
    )

    def forge(source, port):
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as one:
            parts = [socket.inet_aton(a) for a in (source, "10.0.1.21")]
            head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, *parts)
            one.sendto(head + struct.pack(">HHHH", 9, port, 8, 0), ("10.0.1.21", 0))

    mallory.inside(lambda: forge("10.0.1.11", 9))
    mallory.inside(lambda: forge("10.0.1.66", 9))
    mallory.inside(lambda: send("10.0.1.21", 10))
    wait_for(lambda: seen()[2] == 1, "the packet that was sent last has arrived")
    assert seen()[:2] == [0, 1]


def test_a_container_that_a_crash_left_half_connected_is_connected_anew(hosts):
    nodes = hosts.start(2)
    net = Net()
    net.task("a", 1, 11, "a")
    net.task("b", 2, 21, "b")
    apply_all(nodes, net)
    a = hosts.attach(nodes[0], "a", net.attachment("a"))
    hosts.attach(nodes[1], "b", net.attachment("b")).serve("b")
    nodes[0].call("stop")
    router = f"/proc/{nodes[0].process.pid}/root/run/overlay/routers/net1"
    nodes[0].sh(f"nsenter --net={a.net} ip link set eth0 down")
    device = veth_name("a", "net1")
    nodes[0].sh(f"nsenter --net={router} ip route del 10.0.1.11/32 dev {device}", check=False)
    nodes[0].start()
    apply_all(nodes, net)
    assert a.ask("10.0.1.21") == ["b", "10.0.1.11"]


def test_a_published_port_leads_to_containers_with_several_networks_from_a_node_without(hosts):
    nodes = hosts.start()
    back, ingress = Net(1, internal=True), Net(2, ingress=True)
    back.task("w", 2, 21, "web")
    ingress.task("w", 2, 22, "web")
    ingress.service("web", 2, ports=[tcp(8080, 80)])
    apply_all(nodes, back, ingress)
    wishes = (back.attachment("w"), ingress.attachment("w"))
    hosts.attach(nodes[1], "w", *wishes).serve("w")
    for node in nodes:
        assert hosts.client.ask(node.address, 8080)[0] == "w"
        assert Container(node.net).ask("127.0.0.1", 8080)[0] == "w"


def test_a_container_may_ping_and_bind_low_ports_without_privileges(hosts):
    nodes = hosts.start(2)
    net = Net()
    net.task("a", 1, 11, "a")
    net.task("b", 2, 21, "b")
    apply_all(nodes, net)
    a = hosts.attach(nodes[0], "a", net.attachment("a"))
    hosts.attach(nodes[1], "b", net.attachment("b"))

    def ping():
        kind, protocol = socket.SOCK_DGRAM, socket.IPPROTO_ICMP
        with socket.socket(socket.AF_INET, kind, protocol) as one:
            one.settimeout(20)
            one.connect(("10.0.1.21", 0))
            one.send(b"\x08\0\0\0\0\0\0\1payload")
            return one.recv(100)[0]

    assert a.inside(ping) == 0
    name = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert nodes[0].sh(f"nsenter --net={a.net} cat {name}").strip() == "0"


def test_a_network_that_fails_does_not_hold_up_the_others_and_is_made_later(hosts):
    (node,) = hosts.start(1)
    one, two = Net(1), Net(2)
    one.task("a", 1, 11, "a")
    two.task("b", 1, 12, "b")
    node.sh(f"ip link add foreign type vxlan id {one.set.vni} dstport 4789 local 192.168.77.1")
    (answer,) = apply_all([node], one, two)
    assert answer.versions == {"net2": 1}
    assert len(answer.problems) == 1
    b = hosts.attach(node, "b", two.attachment("b"))
    with pytest.raises(Unavailable):
        node.call("attach", "a", [one.attachment("a")])
    assert node.call("attached") == ("b",)
    node.sh("ip link del foreign")
    (answer,) = apply_all([node], one, two)
    assert (answer.versions, answer.problems) == ({"net1": 2, "net2": 2}, ())
    hosts.attach(node, "a", one.attachment("a")).serve("a")
    b.serve("b")
    assert b.ask("10.0.2.12")[0] == "b"
