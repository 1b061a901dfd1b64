"""The name server in a real network namespace, asked from inside it; needs root and nft."""

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from overlay import dns, messages, netlink, nft
from overlay.server import CONNECTIONS_MAX, NameServer, make_sockets
from overlay.zone import build
from pyswarm.lab.syscalls import in_network
from pyswarm.model import EndpointSet, ResolutionMode, ServiceEndpoint, TaskEndpoint

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables"),
]
WAIT_SECONDS = 60
SERVER = (dns.SERVER_ADDRESS, 53)
SET = EndpointSet(
    network_id="net1",
    network_name="back",
    version=1,
    services=(
        ServiceEndpoint(service_id="s1", name="shop_api", aliases=("api",), virtual_ip="10.0.1.2"),
        ServiceEndpoint(service_id="s2", name="big", mode=ResolutionMode.DNSRR),
    ),
    tasks=(
        TaskEndpoint(task_id="t1", service_id="s1", address="10.0.1.3", ready=True),
        TaskEndpoint(task_id="t2", service_id="s1", address="10.0.1.4", ready=True),
        *(
            TaskEndpoint(
                task_id=f"b{n}",
                service_id="s2",
                address=f"10.1.{n // 250}.{n % 250 + 1}",
                ready=True,
            )
            for n in range(400)
        ),
    ),
)
ZONES = {"net1": build(SET, ())}


@pytest.fixture
def space(tmp_path):
    """A namespace as the overlay makes it for a container."""
    path = tmp_path / "netns"

    def prepare():
        channel = netlink.Channel()
        channel.send([messages.link_up(1)])
        channel.close()
        nft.run(dns.REDIRECT)

    maker = threading.Thread(target=netlink.make_namespace, args=(path,))
    maker.start()
    maker.join()
    try:
        in_network(str(path), prepare)
        yield str(path)
    finally:
        netlink.drop_namespace(path)


def wire(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def query(name, kind=1, ident=7):
    head = struct.pack(">HHHHHH", ident, 0x0100, 1, 0, 0, 0)
    return head + wire(name) + struct.pack(">HH", kind, 1)


def read(answer, name):
    """(code, truncated, addresses in order) of an answer whose records point to the question."""
    ident, flags, questions, count, _, _ = struct.unpack_from(">HHHHHH", answer)
    assert (ident, questions) == (7, 1)
    place = 12 + len(wire(name)) + 4
    assert answer[12 : place - 4] == wire(name), "the question is echoed as it was asked"
    found = [socket.inet_ntoa(answer[place + 16 * n :][12:16]) for n in range(count)]
    return flags & 15, bool(flags & 0x0200), found


def receive(one):
    with one.makefile("rb") as file:
        (length,) = struct.unpack(">H", file.read(2))
        return file.read(length)


class Container:
    def __init__(self, path):
        self.path = path

    def socket(self, kind):
        one = in_network(self.path, lambda: socket.socket(socket.AF_INET, kind))
        one.settimeout(WAIT_SECONDS)
        return one

    async def udp(self, name, kind=1):
        def ask():
            with self.socket(socket.SOCK_DGRAM) as one:
                one.connect(SERVER)  # only an answer from port 53 is received
                one.send(query(name, kind))
                return read(one.recv(65535), name)

        return await asyncio.to_thread(ask)

    async def tcp(self, name):
        def ask():
            with self.socket(socket.SOCK_STREAM) as one:
                one.connect(SERVER)
                one.sendall(struct.pack(">H", len(query(name))) + query(name))
                return read(receive(one), name)

        return await asyncio.to_thread(ask)


class Upstream:
    """Two outside servers on the host's loopback, 127.0.0.1 and 127.0.0.2, on one port. The first
    refuses `second.example`, and answers `spoofed.example` wrongly before it answers it well."""

    HOSTS = ("127.0.0.1", "127.0.0.2")

    def __enter__(self):
        self.open = []
        self.port = self._bind()
        for number in range(2):
            threading.Thread(target=self._datagrams, args=(number,), daemon=True).start()
            threading.Thread(target=self._streams, args=(number,), daemon=True).start()
        return self

    def _bind(self):
        # The same port for four sockets: take one that the kernel chose until all four fit.
        while True:
            made = []
            port = 0
            try:
                for host in self.HOSTS:
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        made.append(one := socket.socket(socket.AF_INET, kind))
                        one.bind((host, port))
                        port = one.getsockname()[1]
            except OSError:
                for one in made:
                    one.close()
                continue
            self.open = made
            made[1].listen()
            made[3].listen()
            return port

    def __exit__(self, *_):
        for one in self.open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _answers(self, number, data, *, limit):
        asked = dns.parse(data)
        if number == 0 and asked.name == "second.example":
            return [dns.answer_error(asked, dns.REFUSED)]
        if asked.name == "no.example":
            return [dns.answer_error(asked, dns.NXDOMAIN)]
        if asked.name == "large.example":
            many = [f"192.0.2.{n}" for n in range(1, 101)]
            return [dns.answer_addresses(asked, many, 60, limit)]
        good = dns.answer_addresses(asked, [f"192.0.2.{number + 1}"], 60, limit)
        if asked.name == "spoofed.example":
            return [dns.with_id(good, asked.id ^ 1), good.replace(b"spoofed", b"SPOOFEX"), good]
        return [good]

    def _datagrams(self, number):
        one = self.open[2 * number]
        with suppress(OSError):
            while True:
                data, peer = one.recvfrom(4096)
                if not data:  # closed
                    return
                for answer in self._answers(number, data, limit=512):
                    one.sendto(answer, peer)

    def _streams(self, number):
        with suppress(OSError):
            while True:
                peer, _ = self.open[2 * number + 1].accept()
                with peer:
                    (answer,) = self._answers(number, receive(peer), limit=65535)
                    peer.sendall(struct.pack(">H", len(answer)) + answer)


def run(space, story, *, servers=(), port=53, forwards=False, zones=ZONES):
    """Perform `story(container, name_server)` against a name server that serves the namespace."""

    async def perform():
        names = NameServer(servers, server_port=port)
        try:
            await names.swap(zones)
            sockets = await asyncio.to_thread(in_network, space, make_sockets)
            await names.add("task", ["net1"], sockets, forwards=forwards)
            async with asyncio.timeout(2 * WAIT_SECONDS):
                await story(Container(space), names)
        finally:
            await names.close()

    asyncio.run(perform())


def test_inside_names_are_answered_over_udp_and_tcp_at_port_53(space):
    async def story(container, _):
        for ask in (container.udp, container.tcp):
            assert await ask("shop_api") == (0, False, ["10.0.1.2"])
            assert await ask("API") == (0, False, ["10.0.1.2"])
            code, _, found = await ask("tasks.shop_api.back")
            assert (code, sorted(found)) == (0, ["10.0.1.3", "10.0.1.4"])
            assert await ask("unknown") == (dns.NXDOMAIN, False, [])
        assert await container.udp("api", 28) == (0, False, [])

    run(space, story)


def test_a_large_answer_is_truncated_over_udp_and_whole_over_tcp(space):
    async def story(container, _):
        code, truncated, found = await container.udp("big")
        assert (code, truncated) == (0, True)
        assert found
        code, truncated, found = await container.tcp("big")
        assert (code, truncated, len(set(found))) == (0, False, 400)

    run(space, story)


def test_the_addresses_come_in_changing_order(space):
    async def story(container, _):
        firsts = {(await container.udp("tasks.shop_api"))[2][0] for _ in range(40)}
        assert firsts == {"10.0.1.3", "10.0.1.4"}

    run(space, story)


def test_a_new_zone_answers_from_the_next_question_on(space):
    async def story(container, names):
        assert len((await container.udp("tasks.shop_api"))[2]) == 2
        await names.swap({"net1": build(SET, {"t1"})})
        assert await container.udp("tasks.shop_api") == (0, False, ["10.0.1.4"])

    run(space, story)


def test_a_question_waits_until_the_network_is_known(space):
    async def story(container, names):
        waiting = asyncio.ensure_future(container.udp("api"))
        stream = asyncio.ensure_future(container.tcp("api"))
        await container_has_asked(space)
        assert not waiting.done()
        await names.swap(ZONES)
        assert await waiting == (0, False, ["10.0.1.2"])
        assert await stream == (0, False, ["10.0.1.2"])

    async def container_has_asked(path):
        def queued():
            # The received bytes that nobody has read, of the only UDP socket at our port.
            table = in_network(path, Path("/proc/thread-self/net/udp").read_text)
            for line in table.splitlines():
                words = line.split()
                if words[1].endswith(f":{dns.SERVER_PORT:04X}"):
                    return int(words[4].partition(":")[2], 16)
            return 0

        async with asyncio.timeout(WAIT_SECONDS):
            while not await asyncio.to_thread(queued):
                await asyncio.sleep(0.01)

    run(space, story, zones={})


def test_a_new_process_serves_the_same_namespace_again(space):
    async def story(container, names):
        with container.socket(socket.SOCK_STREAM) as held:
            await asyncio.to_thread(held.connect, SERVER)
            assert await container.tcp("api") == (0, False, ["10.0.1.2"])
            assert names.serves("task")

    for _ in range(3):
        run(space, story)


def test_a_container_may_have_a_name_server_of_its_own(space):
    async def story(container, _):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with container.socket(kind) as own:
                own.bind(("0.0.0.0", 53))
                assert await container.udp("api") == (0, False, ["10.0.1.2"])

    run(space, story)


def test_too_many_connections_are_closed_and_the_others_served(space):
    async def story(container, _):
        held = [container.socket(socket.SOCK_STREAM) for _ in range(CONNECTIONS_MAX + 1)]
        try:
            for one in held:
                await asyncio.to_thread(one.connect, SERVER)
            # Both ends come: the surplus one at once, the idle ones after their time.
            for one in reversed(held):
                assert await asyncio.to_thread(one.recv, 1) == b""
        finally:
            for one in held:
                one.close()
        assert await container.tcp("api") == (0, False, ["10.0.1.2"])

    run(space, story)


def test_noise_gets_no_answer_or_a_refusal_and_the_server_lives(space):
    async def story(container, _):
        with container.socket(socket.SOCK_DGRAM) as one:
            one.connect(SERVER)
            for data in (b"", b"\0", os.urandom(11), query("api")[:14], os.urandom(4096)):
                await asyncio.to_thread(one.send, data)
        with container.socket(socket.SOCK_STREAM) as one:
            await asyncio.to_thread(one.connect, SERVER)
            await asyncio.to_thread(one.sendall, b"\xff\xff" + b"x" * 100)
            with suppress(ConnectionError):
                assert await asyncio.to_thread(one.recv, 1) == b""
        assert await container.udp("api") == (0, False, ["10.0.1.2"])

    run(space, story)


def test_outside_names_are_asked_of_the_hosts_servers(space):
    async def story(container, _):
        for ask in (container.udp, container.tcp):
            assert await ask("www.example") == (0, False, ["192.0.2.1"])
            assert await ask("second.example") == (0, False, ["192.0.2.2"])
            assert await ask("no.example") == (dns.NXDOMAIN, False, [])
            assert await ask("api") == (0, False, ["10.0.1.2"])
        assert await container.udp("spoofed.example") == (0, False, ["192.0.2.1"])
        assert (await container.udp("large.example"))[1]
        code, truncated, found = await container.tcp("large.example")
        assert (code, truncated, len(found)) == (0, False, 100)
        many = await asyncio.gather(*(container.udp("www.example") for _ in range(50)))
        assert many == [(0, False, ["192.0.2.1"])] * 50

    with Upstream() as outside:
        run(space, story, servers=outside.HOSTS, port=outside.port, forwards=True)


def test_without_an_outside_server_the_answer_is_a_failure(space):
    async def story(container, _):
        assert await container.udp("www.example") == (dns.SERVFAIL, False, [])
        assert await container.tcp("www.example") == (dns.SERVFAIL, False, [])

    run(space, story, servers=(), forwards=True)
    unused = Upstream()
    with unused:
        port = unused.port
    run(space, story, servers=["127.0.0.1"], port=port, forwards=True)


@pytest.mark.skipif(shutil.which("dig") is None, reason="needs dig")
def test_dig_understands_the_answers(space):
    async def dig(*arguments):
        command = ["nsenter", f"--net={space}", "dig", f"@{dns.SERVER_ADDRESS}", *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True
        )
        assert "WARNING" not in done.stdout, done.stdout
        assert "MALFORMED" not in done.stdout.upper(), done.stdout
        return done.stdout.split()

    async def story(_, __):
        assert await dig("+short", "api") == ["10.0.1.2"]
        assert await dig("+short", "+tcp", "api") == ["10.0.1.2"]
        assert len(await dig("+short", "big")) == 400, "over UDP first, then over TCP"
        assert await dig("+short", "api", "MX") == []
        assert await dig("+short", "-x", "10.0.1.2") == ["shop_api.back."]
        assert "NOERROR," in await dig("api", "AAAA")
        assert "NXDOMAIN," in await dig("nobody")

    run(space, story)
