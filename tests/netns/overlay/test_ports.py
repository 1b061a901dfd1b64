"""Published ports: by every host, from everywhere, and the ones that somebody else has."""

import importlib.util
import socket
from pathlib import Path

import pytest

from pyswarm.errors import AlreadyExists

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
Net, apply_all, tcp, udp = lab.Net, lab.apply_all, lab.tcp, lab.udp

pytestmark = pytest.mark.netns


def published(hosts):
    """`web` on node1 and node2 published on 8080 by ingress, and `a` in another network."""
    nodes = hosts.start()
    ingress, back = Net(9, ingress=True), Net(1)
    ingress.service("web", 2, ports=[tcp(8080, 80), udp(5353, 53)])
    back.task("a", 1, 11, "a")
    for n in (1, 2):
        ingress.task(f"w{n}", n, 20 + n, "web")
    apply_all(nodes, ingress, back)
    for n in (1, 2):
        web = hosts.attach(nodes[n - 1], f"w{n}", ingress.attachment(f"w{n}"))
        web.serve(f"w{n}")
        web.serve_udp(f"w{n}")
    caller = hosts.attach(nodes[0], "a", back.attachment("a"))
    return nodes, ingress, back, caller


def on(host):
    return lab.Container(host.net)


def test_a_published_port_answers_on_every_host_and_reaches_every_task(hosts):
    nodes, *_ = published(hosts)
    for node in nodes:
        seen = {hosts.client.ask(node.address, 8080)[0] for _ in range(24)}
        assert seen == {"w1", "w2"}


def test_a_published_port_answers_on_localhost_and_on_the_hosts_own_address(hosts):
    nodes, *_ = published(hosts)
    for node in nodes:
        for address in ("127.0.0.1", node.address):
            assert {on(node).ask(address, 8080)[0] for _ in range(24)} == {"w1", "w2"}


def test_a_published_port_answers_containers_on_their_own_and_on_other_hosts(hosts):
    nodes, _, _, caller = published(hosts)
    for node in nodes:
        assert {caller.ask(node.address, 8080)[0] for _ in range(24)} == {"w1", "w2"}


def test_a_published_udp_port_answers(hosts):
    nodes, *_ = published(hosts)

    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(20)
            one.sendto(b"?", (nodes[2].address, 5353))
            return one.recvfrom(100)

    seen = {hosts.client.inside(ask) for _ in range(24)}
    assert seen == {(b"w1", (nodes[2].address, 5353)), (b"w2", (nodes[2].address, 5353))}


def test_a_published_port_without_tasks_is_refused_and_its_held_connections_are_reset(hosts):
    nodes, ingress, back, _ = published(hosts)
    held, _words = hosts.client.connect(nodes[2].address, 8080)
    for n in (1, 2):
        del ingress.tasks[f"w{n}"]
        nodes[n - 1].call("detach", f"w{n}")
    apply_all(nodes, ingress, back)
    with pytest.raises(ConnectionRefusedError):
        hosts.client.ask(nodes[2].address, 8080)
    with pytest.raises(ConnectionResetError):
        lab.say(held, times=2)


def test_a_port_that_another_program_has_is_reported_and_left_to_it(hosts):
    nodes = hosts.start()
    other = on(nodes[0])
    other.serve("other", 8080)
    ingress = Net(9, ingress=True)
    ingress.service("web", 2, ports=[tcp(8080, 80)])
    ingress.task("w2", 2, 22, "web")
    first, second, _ = apply_all(nodes, ingress)
    assert first.ports == {8080: first.problems[0]}
    assert "port 8080/tcp is taken by another program" in first.problems[0]
    assert second.problems == ()
    hosts.attach(nodes[1], "w2", ingress.attachment("w2")).serve("w2")
    assert hosts.client.ask(nodes[0].address, 8080)[0] == "other"
    assert hosts.client.ask(nodes[2].address, 8080)[0] == "w2"
    other.close()
    lab.wait_for(lambda: apply_all(nodes[:1], ingress)[0].problems == (), "the port is free again")
    assert hosts.client.ask(nodes[0].address, 8080)[0] == "w2"


def test_nobody_else_can_have_a_published_port(hosts):
    nodes, *_ = published(hosts)
    for address in ("0.0.0.0", nodes[0].address):
        with pytest.raises(OSError, match="in use"):
            on(nodes[0]).inside(lambda address=address: socket.create_server((address, 8080)))


def test_a_host_mode_port_leads_to_its_container_which_sees_the_client(hosts):
    nodes = hosts.start(2)
    net = Net(1, internal=True)
    net.task("i", 1, 11, "i")
    apply_all(nodes, net)
    bare = hosts.attach(nodes[0], "bare", host_ports=[tcp(9000, 80)])
    bare.serve("bare")
    inner = hosts.attach(nodes[0], "i", net.attachment("i"), host_ports=[tcp(9001, 80)])
    inner.serve("inner")
    for port, name in ((9000, "bare"), (9001, "inner")):
        assert hosts.client.ask(nodes[0].address, port) == [name, lab.OUTSIDE]
        assert on(nodes[0]).ask("127.0.0.1", port)[0] == name
        assert on(nodes[1]).ask(nodes[0].address, port) == [name, nodes[1].address]
        assert bare.ask(nodes[0].address, port)[0] == name
    with pytest.raises(OSError, match="refused"):
        hosts.client.ask(nodes[1].address, 9000)
    with pytest.raises(AlreadyExists, match="port 9000/tcp of this node is taken"):
        nodes[0].call("attach", "second", [], host_ports=[tcp(9000, 80)])
    assert nodes[0].call("attached") == ("bare", "i")
    held, _words = hosts.client.connect(nodes[0].address, 9000)
    nodes[0].call("close_ports", "bare")
    with pytest.raises(ConnectionRefusedError):
        hosts.client.ask(nodes[0].address, 9000)
    assert hosts.client.ask(nodes[0].address, 9001)[0] == "inner"
    lab.say(held, times=2)  # who was there before goes on
    nodes[0].call("detach", "bare")
    with pytest.raises(ConnectionRefusedError):
        hosts.client.ask(nodes[0].address, 9000)
    second = hosts.attach(nodes[0], "second", host_ports=[tcp(9000, 80)])
    second.serve("second")
    assert hosts.client.ask(nodes[0].address, 9000)[0] == "second"
