"""Names as a container's resolver sees them."""

import importlib.util
import socket
import struct
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("lab", Path(__file__).with_name("conftest.py"))
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)
Net, apply_all = lab.Net, lab.apply_all

pytestmark = pytest.mark.netns
A, AAAA = 1, 28


def question(name, kind=A):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return (
        struct.pack(">HHHHHH", 77, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
    )


def read(data, asked):
    """Code, whether it is truncated, and the addresses."""
    ident, flags, _, count, _, _ = struct.unpack(">HHHHHH", data[:12])
    assert ident == 77
    assert flags & 0x8000
    place, found = len(asked), []
    for _ in range(count):
        kind, _, _, length = struct.unpack(">HHIH", data[place + 2 : place + 12])
        if kind == A:
            found.append(socket.inet_ntoa(data[place + 12 : place + 16]))
        place += 12 + length
    return flags & 15, bool(flags & 0x200), sorted(found)


def ask(container, name, kind=A):
    def work():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(30)
            one.connect(("127.0.0.11", 53))
            one.send(question(name, kind))
            return one.recv(4096)

    code, _, found = read(container.inside(work), question(name, kind))
    return found if code == 0 else code


def named(hosts, **more):
    (node,) = hosts.start(1, **more)
    net, other = Net(1), Net(2)
    net.service("web", 2, aliases=("www",))
    net.service("db", 0)
    for n in (1, 2):
        net.task(f"w{n}", 1, 10 + n, "web")
        net.task(f"d{n}", 1, 20 + n, "db")
    net.task("late", 1, 30, "web", ready=False)
    other.service("cache", 2)
    other.task("c", 1, 11, "cache")
    apply_all([node], net, other)
    return node, net, other, hosts.attach(node, "w1", net.attachment("w1"))


def test_services_aliases_and_tasks_are_answered(hosts):
    node, net, other, w1 = named(hosts, nameservers=[])
    for name in ("web", "WEB", "www", "web.back1", "Www.BACK1"):
        assert ask(w1, name) == ["10.0.1.2"], name
    assert ask(w1, "tasks.web") == ["10.0.1.11", "10.0.1.12"]
    assert ask(w1, "tasks.web.back1") == ["10.0.1.11", "10.0.1.12"]
    assert ask(w1, "db") == ask(w1, "tasks.db") == ["10.0.1.21", "10.0.1.22"]
    assert ask(w1, "web", AAAA) == []
    assert ask(w1, "cache") == 2, "a network that the container is not in, and nobody outside"
    node.call("mark_dead", "w2")
    assert ask(w1, "tasks.web") == ["10.0.1.11"]
    del net.tasks["d1"]
    apply_all([node], net, other)
    assert ask(w1, "db") == ["10.0.1.22"]


def test_outside_names_are_forwarded_but_not_for_internal_networks(hosts):
    def upstream(data):
        head = data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
        return head + data[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\x04" + bytes((9, 9, 9, 9))

    hosts.client.serve_udp(upstream)
    node, net, other, w1 = named(hosts, nameservers=[lab.OUTSIDE])
    assert ask(w1, "example.org") == ["9.9.9.9"]
    internal = Net(3, internal=True)
    internal.task("i", 1, 11, "i")
    apply_all([node], net, other, internal)
    inner = hosts.attach(node, "i", internal.attachment("i"))
    assert ask(inner, "example.org") == 3
    bare = hosts.attach(node, "bare")
    assert ask(bare, "example.org") == ["9.9.9.9"]
