"""Hosts as network namespaces on one bridge; the root namespace is never touched."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

import pytest

from pyswarm.lab.syscalls import in_network
from pyswarm.model import (
    EndpointSet,
    NetworkAttachment,
    NodeEndpoint,
    PortConfig,
    Protocol,
    ServiceEndpoint,
    TaskEndpoint,
)

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 60
OUTSIDE = "192.168.77.200"


def wait_for(condition, what):
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)
    return found


class Host:
    """A host process; `call` runs a method of its Overlay."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        self.pipe, far = Pipe()
        command = [sys.executable, str(Path(__file__).with_name("lab_host.py"))]
        self.process = subprocess.Popen(
            [*command, str(far.fileno())],
            pass_fds=[far.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        far.close()
        self._receive()
        self.net = f"/proc/{self.process.pid}/ns/net"

    def _receive(self):
        assert self.pipe.poll(WAIT_SECONDS), f"{self.name} does not answer"
        kind, value = self.pipe.recv()
        if kind == "error":
            raise value
        return value

    def raw(self, method, *arguments, **keywords):
        self.pipe.send((method, arguments, keywords))
        return self._receive()

    def call(self, method, *arguments, **keywords):
        return self.raw("call", method, *arguments, **keywords)

    def start(self, **more):
        self.raw("open", self.name, self.address, **more)

    def sh(self, command, *, text=None, check=True):
        done = subprocess.run(
            ["nsenter", f"--net={self.net}", "sh", "-c", command],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def close(self):
        self.pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def attach(self, task_id, *attachments, **more):
        path = self.call("attach", task_id, list(attachments), **more)
        return Container(f"/proc/{self.process.pid}/root{path}")


class Container:
    """A namespace in which the test opens sockets from its own process."""

    def __init__(self, net):
        self.net = net
        self._open = []

    def inside(self, work):
        return in_network(self.net, work)

    def close(self):
        for one in self._open:
            # A thread that waits in accept or recvfrom is not woken by close alone.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def serve(self, text, port=80):
        """Answer `text` and the peer's address to each connection, then echo lines."""
        listener = self.inside(lambda: socket.create_server(("0.0.0.0", port), backlog=128))
        self._open.append(listener)

        def talk(one, peer):
            with one, suppress(OSError):
                one.sendall(f"{text} {peer[0]}\n".encode())
                while data := one.recv(4096):
                    one.sendall(data)

        def accept():
            with suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=listener.accept(), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def serve_udp(self, text, port=53):
        bound = self.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._open.append(bound)
        bound.bind(("0.0.0.0", port))

        def answer():
            with suppress(OSError):
                while True:
                    data, peer = bound.recvfrom(4096)
                    if peer is None:  # the socket was shut down
                        return
                    bound.sendto(text(data) if callable(text) else text.encode(), peer)

        threading.Thread(target=answer, daemon=True).start()

    def connect(self, address, port=80, timeout=20):
        """A connected socket and the first line that it was sent."""

        def work():
            return socket.create_connection((address, port), timeout)

        one = self.inside(work)
        with one.makefile("rb") as file:
            return one, file.readline().decode().split()

    def ask(self, address, port=80, timeout=20):
        one, words = self.connect(address, port, timeout)
        one.close()
        return words

    def ping(self, address):
        """Whether the address answers an ICMP echo (unprivileged ICMP socket, type 8)."""

        def work():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as one:
                one.settimeout(20)
                one.sendto(b"\x08\0\0\0\0\0\0\x01ping", (address, 0))
                return one.recv(100)[:1] == b"\0"

        return self.inside(work)


@pytest.fixture
def hosts():
    """Three hosts and a client outside on one bridge; hub.sh runs in the bridge's namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    for tool in ("nsenter", "ip", "nft"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the command {tool}")
    made = Lab()
    try:
        made.wire()
        yield made
    finally:
        made.close()


class Lab:
    def __init__(self):
        self.hub = Host("hub", "")
        self.all = [Host(f"node{n}", f"192.168.77.{n}") for n in (1, 2, 3)]
        self.client_host = Host("client", OUTSIDE)
        self.client = Container(self.client_host.net)
        self.containers = [self.client]

    def wire(self):
        self.hub.sh("ip link set lo up; ip link add br0 type bridge; ip link set br0 up")
        for host in (*self.all, self.client_host):
            pid = host.process.pid
            self.hub.sh(
                f"ip link add {host.name} type veth peer name eth0 netns {pid}"
                f" && ip link set {host.name} master br0 up"
            )
            host.sh(
                f"ip link set lo up; ip addr add {host.address}/24 dev eth0; ip link set eth0 up"
            )

    def start(self, count=3, **more):
        for host in self.all[:count]:
            host.start(**more)
        return self.all[:count]

    def attach(self, host, task_id, *attachments, **more):
        container = host.attach(task_id, *attachments, **more)
        self.containers.append(container)
        return container

    def close(self):
        for container in self.containers:
            container.close()
        for host in (*self.all, self.client_host, self.hub):
            host.close()


def say(held, times=1):
    """Send a line over a connection and wait for its echo, `times` times."""
    for _ in range(times):
        held.sendall(b"still there?\n")
        answer = held.recv(100)
    return answer


class Net:
    """An endpoint set that is changed step by step; tasks are (id, host number, address)."""

    def __init__(self, number=1, **head):
        self.id = f"net{number}"
        self.prefix = f"10.0.{number}"
        self.set = EndpointSet(
            network_id=self.id,
            network_name=f"back{number}",
            subnet=f"{self.prefix}.0/24",
            gateway=f"{self.prefix}.1",
            vni=4096 + number,
            nodes=tuple(
                NodeEndpoint(node_id=f"node{n}", address=f"192.168.77.{n}", index=n)
                for n in (1, 2, 3)
            ),
            **head,
        )
        self.tasks = {}
        self.services = {}
        self.version = 0

    def service(self, name, vip, *, ports=(), aliases=()):
        self.services[name] = ServiceEndpoint(
            service_id=name,
            name=name,
            virtual_ip=f"{self.prefix}.{vip}" if vip else "",
            ports=tuple(ports),
            aliases=aliases,
        )

    def task(self, task_id, host, last, service, **more):
        self.tasks[task_id] = TaskEndpoint(
            task_id=task_id,
            service_id=service,
            node_id=f"node{host}",
            slot=1,
            address=f"{self.prefix}.{last}",
            ready=more.pop("ready", True),
            **more,
        )

    def attachment(self, task_id):
        return NetworkAttachment(network_id=self.id, address=f"{self.tasks[task_id].address}/24")

    def now(self):
        from dataclasses import replace

        self.version += 1
        return replace(
            self.set,
            version=self.version,
            services=tuple(self.services[key] for key in sorted(self.services)),
            tasks=tuple(self.tasks[key] for key in sorted(self.tasks)),
        )


def apply_all(hosts, *nets):
    sets = [net.now() for net in nets]
    return [host.call("apply", sets) for host in hosts]


def tcp(published, target):
    return PortConfig(published_port=published, target_port=target, protocol=Protocol.TCP)


def udp(published, target):
    return PortConfig(published_port=published, target_port=target, protocol=Protocol.UDP)
