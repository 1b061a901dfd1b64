"""What a lab is made of: names, addresses, directories, and its description on disk.

Addresses come from 10.66.0.0/16 and exist inside the lab's namespaces only: the hub is 10.66.0.1,
managers are 10.66.1.N, workers 10.66.2.N. Two labs may use the same ones side by side.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from pyswarm.errors import FailedPrecondition, InvalidArgument, NotFound

STATE_ROOT = Path("/var/lib/pyswarm-lab")
RUN_ROOT = Path("/run/pyswarm-lab")
HUB = "hub"
HUB_ADDRESS = "10.66.0.1"
PREFIX_LENGTH = 16
# An address of the world outside, for programs that want to leave (RFC 5737, TEST-NET-3).
OUTSIDE_ADDRESS = "203.0.113.1"
REGISTRY = "registry:5000"
HOSTS_MAX = 50
PROGRAMS_NEEDED = ("containerd", "runc", "ip", "nft", "nsenter", "docker-registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host: its name, its address on the bridge, and whether it is to be a manager."""

    name: str
    address: str
    manager: bool

    @property
    def mac(self) -> str:
        """The address of its network card, which a reboot does not change.

        With a random one, the others would send to a stale neighbour entry after a power cut.
        """
        return "02:66:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The description of a lab, as `lab.json` in its state directory holds it."""

    name: str
    hosts: tuple[Host, ...]
    daemon: bool = True  # whether hosts run `pyswarm daemon` beside containerd
    publish: tuple[tuple[int, int], ...] = ()  # (port on 127.0.0.1, port on the hosts)

    @property
    def state(self) -> Path:
        """The lab's directory on disk."""
        return STATE_ROOT / self.name

    @property
    def run(self) -> Path:
        """The lab's directory of links to the hosts' sockets."""
        return RUN_ROOT / self.name

    def host(self, name: str) -> Host:
        """The host called `name`; NotFound names those that there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise NotFound(f"lab {self.name} has no host {name!r}; its hosts are {names}")

    def socket(self, name: str) -> str:
        """The value for PYSWARM_HOST that reaches the daemon of a host from outside."""
        return f"unix://{self.run / name / 'pyswarm.sock'}"

    def save(self) -> None:
        """Write `lab.json`."""
        (self.state / "lab.json").write_text(json.dumps(asdict(self), indent=1))


def plan(
    name: str, *, managers: int, workers: int, daemon: bool, publish: tuple[tuple[int, int], ...]
) -> Layout:
    """The layout of a new lab; InvalidArgument for a bad name or number."""
    check_name(name)
    if managers < 1 or workers < 0 or managers + workers > HOSTS_MAX:
        raise InvalidArgument(
            f"a lab has at least 1 manager and at most {HOSTS_MAX} hosts, "
            f"not {managers} managers and {workers} workers"
        )
    hosts = [
        Host(name=f"m{number}", address=f"10.66.1.{number}", manager=True)
        for number in range(1, managers + 1)
    ] + [
        Host(name=f"w{number}", address=f"10.66.2.{number}", manager=False)
        for number in range(1, workers + 1)
    ]
    return Layout(name=name, hosts=tuple(hosts), daemon=daemon, publish=publish)


def check_name(name: str) -> None:
    """InvalidArgument unless `name` is fit for a directory, a cgroup and a socket path."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
        raise InvalidArgument(
            f"a lab's name has 1 to 20 lower-case letters, digits and dashes, not {name!r}"
        )


def load(name: str) -> Layout:
    """The lab that is up under this name; NotFound says how to start it."""
    check_name(name)
    try:
        stored = json.loads((STATE_ROOT / name / "lab.json").read_text())
    except FileNotFoundError:
        raise NotFound(f"no lab called {name} is up; start one with: pyswarm lab up") from None
    return Layout(
        name=stored["name"],
        hosts=tuple(Host(**host) for host in stored["hosts"]),
        daemon=stored["daemon"],
        publish=tuple((outer, inner) for outer, inner in stored["publish"]),
    )


def parse_publish(text: str) -> tuple[int, int]:
    """`8080:80` as (8080, 80); InvalidArgument otherwise."""
    ports = text.split(":")
    if len(ports) == 2 and all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        return int(ports[0]), int(ports[1])
    raise InvalidArgument(f"--publish takes PORT:PORT, for example 8080:80, not {text!r}")


def check_machine() -> None:
    """FailedPrecondition when this machine lacks root or a program that a lab needs."""
    if os.geteuid() != 0:
        raise FailedPrecondition("a lab makes namespaces and therefore needs root: use sudo")
    missing = [program for program in PROGRAMS_NEEDED if shutil.which(program) is None]
    if missing:
        raise FailedPrecondition(
            f"this machine lacks {', '.join(missing)}: run deploy/install-packages.sh"
        )
