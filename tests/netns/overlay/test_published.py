"""Published ports on the real kernel: the routing mesh, host mode, and ports that are taken."""

import importlib.util
import socket
from collections import Counter
from pathlib import Path

import pytest

from pyswarm.errors import AlreadyExists
from pyswarm.model import PublishMode

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
Container, Net, apply_all, tcp, udp, wait_for = (
    lab.Container,
    lab.Net,
    lab.apply_all,
    lab.tcp,
    lab.udp,
    lab.wait_for,
)

pytestmark = pytest.mark.netns


def published_web(hosts, *ports, count=2):
    """A service with a task on each of the first `count` nodes; node3 has none of its own."""
    nodes = hosts.start()
    net = Net(ingress=True)
    net.service("web", 2, ports=ports or [tcp(8080, 80)])
    webs = {}
    for n in range(1, count + 1):
        net.task(f"w{n}", n, 20 + n, "web")
    apply_all(nodes, net)
    for n in range(1, count + 1):
        webs[f"w{n}"] = hosts.attach(nodes[n - 1], f"w{n}", net.attachment(f"w{n}"))
        webs[f"w{n}"].serve(f"w{n}")
    return nodes, net, webs


def names_seen(asker, address, port=8080, tries=40):
    return Counter(asker.ask(address, port)[0] for _ in range(tries))


def test_a_published_port_leads_to_every_task_through_every_node(hosts):
    published_web(hosts)
    for n in (1, 2, 3):
        assert set(names_seen(hosts.client, f"192.168.77.{n}")) == {"w1", "w2"}


def test_a_published_port_answers_the_node_itself_on_all_its_addresses(hosts):
    nodes, _, _ = published_web(hosts)
    for n in (1, 3):
        own = Container(nodes[n - 1].net)
        for address in ("127.0.0.1", f"192.168.77.{n}", "192.168.77.2"):
            assert set(names_seen(own, address)) == {"w1", "w2"}, (n, address)


def test_a_published_port_answers_containers_through_any_nodes_address(hosts):
    nodes, _, webs = published_web(hosts)
    stranger = hosts.attach(nodes[0], "stranger")
    for asker in (stranger, webs["w1"]):
        for address in ("192.168.77.1", "192.168.77.3"):
            assert set(names_seen(asker, address)) == {"w1", "w2"}, address


def test_a_published_udp_port_answers_from_outside_and_inside(hosts):
    nodes, _, webs = published_web(hosts, udp(5353, 53))
    for name, container in webs.items():
        container.serve_udp(name)

    def ask(address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(20)
            one.connect((address, 5353))
            one.send(b"?")
            return one.recv(100).decode()

    seen = {hosts.client.inside(lambda: ask("192.168.77.3")) for _ in range(30)}
    assert seen == {"w1", "w2"}
    own = Container(nodes[2].net)
    assert {own.inside(lambda: ask("127.0.0.1")) for _ in range(30)} == {"w1", "w2"}


def test_a_removed_task_leaves_the_published_port_and_the_last_one_closes_it(hosts):
    nodes, net, webs = published_web(hosts)
    del net.tasks["w1"]
    nodes[0].call("detach", "w1")
    apply_all(nodes, net)
    for n in (1, 3):
        assert set(names_seen(hosts.client, f"192.168.77.{n}", tries=20)) == {"w2"}
    held, _ = hosts.client.connect("192.168.77.3", 8080)
    del net.tasks["w2"]
    nodes[1].call("detach", "w2")
    apply_all(nodes, net)
    with pytest.raises(ConnectionResetError):
        for _ in range(2):
            held.sendall(b"still there?\n")
            held.recv(100)
    with pytest.raises(ConnectionRefusedError):
        hosts.client.ask("192.168.77.3", 8080)


def test_a_port_of_another_program_is_left_to_it_and_reported(hosts):
    nodes = hosts.start()
    foreign = Container(nodes[0].net)
    hosts.containers.append(foreign)
    foreign.serve("foreign", 8080)
    net = Net(ingress=True)
    net.service("web", 2, ports=[tcp(8080, 80), tcp(8081, 80)])
    net.task("w2", 2, 22, "web")
    answers = apply_all(nodes, net)
    assert "8080/tcp" in answers[0].problems[0]
    assert answers[1].problems == ()
    hosts.attach(nodes[1], "w2", net.attachment("w2")).serve("w2")
    assert hosts.client.ask("192.168.77.1", 8080)[0] == "foreign"
    assert hosts.client.ask("192.168.77.1", 8081)[0] == "w2"
    assert hosts.client.ask("192.168.77.3", 8080)[0] == "w2"


def test_nobody_else_can_take_a_published_port(hosts):
    nodes, _, _ = published_web(hosts)
    own = Container(nodes[2].net)
    with pytest.raises(OSError, match="in use"):
        own.inside(lambda: socket.create_server(("0.0.0.0", 8080)))


def test_a_host_mode_port_leads_to_the_task_here_with_the_clients_address(hosts):
    nodes = hosts.start(2)
    net = Net()
    net.task("a", 1, 11, "a")
    net.task("b", 2, 12, "b")
    apply_all(nodes, net)
    port = tcp(9000, 80)
    port = type(port)(
        published_port=9000, target_port=80, publish_mode=PublishMode.HOST
    )
    a = hosts.attach(nodes[0], "a", net.attachment("a"), host_ports=[port])
    a.serve("a")
    hosts.attach(nodes[1], "bare", host_ports=[port]).serve("bare")
    assert hosts.client.ask("192.168.77.1", 9000) == ["a", lab.OUTSIDE]
    assert hosts.client.ask("192.168.77.2", 9000) == ["bare", lab.OUTSIDE]
    assert Container(nodes[0].net).ask("127.0.0.1", 9000)[0] == "a"
    with pytest.raises(AlreadyExists, match="9000/tcp"):
        nodes[0].call("attach", "second", [], host_ports=[port])
    a.close()
    nodes[0].call("detach", "a")
    with pytest.raises(ConnectionRefusedError):
        hosts.client.ask("192.168.77.1", 9000)


def test_a_container_cannot_forge_vxlan_under_its_hosts_address(hosts):
    nodes = hosts.start(2)
    net, open_net = Net(1, internal=True), Net(2)
    net.task("victim", 2, 21, "victim")
    open_net.task("mallory", 1, 66, "mallory")
    apply_all(nodes, net, open_net)
    hosts.attach(nodes[1], "victim", net.attachment("victim"))
    mallory = hosts.attach(nodes[0], "mallory", open_net.attachment("mallory"))

    def throw(address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for _ in range(5):
                one.sendto(b"\x08" + bytes(7) + bytes(60), (address, 4789))

    nodes[1].sh(
        "nft 'table ip watch { chain seen { type filter hook prerouting priority -300;"
        " udp dport 4789 counter; udp dport 4790 counter; } }'"
    )
    mallory.inside(lambda: throw("192.168.77.2"))

    def marked():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"mark", ("192.168.77.2", 4790))

    mallory.inside(marked)
    rules = wait_for(
        lambda: (seen := nodes[1].sh("nft list table ip watch"))
        and "4790 counter packets 1" in seen
        and seen,
        "the packet sent last has arrived",
    )
    assert "4789 counter packets 0" in rules, rules
