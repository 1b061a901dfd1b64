"""The lab's wires: one bridge in the hub's namespace, one veth to each host, and their faults.

Every command runs inside the hub's or a host's namespace. The root namespace is never touched: a
veth pair is made in the hub, with its far end in the host.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pyswarm.errors import SwarmError
from pyswarm.lab.layout import HUB_ADDRESS, OUTSIDE_ADDRESS, PREFIX_LENGTH, Host
from pyswarm.lab.process import Process

BRIDGE = "br0"


def inside(process: Process, *command: str, text: str = "") -> str:
    """The output of `command` in the network namespace of a process; SwarmError if it fails."""
    result = subprocess.run(
        ["nsenter", f"--net={process.namespace('net')}", *command],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SwarmError(f"{' '.join(command)} failed in the lab: {result.stderr.strip()}")
    return result.stdout


def prepare_hub(hub: Process) -> None:
    """Make the bridge and the hub's addresses, one of them standing for the world outside."""
    lines = [
        "link set lo up",
        f"link add name {BRIDGE} type bridge",
        f"addr add {HUB_ADDRESS}/{PREFIX_LENGTH} dev {BRIDGE}",
        f"addr add {OUTSIDE_ADDRESS}/32 dev lo",
        f"link set {BRIDGE} up",
    ]
    inside(hub, "ip", "-batch", "-", text="\n".join(lines))


def plug(hub: Process, init: Process, host: Host) -> None:
    """Connect a fresh host to the bridge and give it its address and default route."""
    remove = [f"link del {host.name}"] if host.name in ports(hub) else []
    outer = [
        *remove,
        f"link add name {host.name} type veth peer name eth0 address {host.mac} netns {init.pid}",
        f"link set {host.name} master {BRIDGE} up",
    ]
    inside(hub, "ip", "-batch", "-", text="\n".join(outer))
    inner = [
        "link set lo up",
        f"addr add {host.address}/{PREFIX_LENGTH} dev eth0",
        "link set eth0 up",
        f"route add default via {HUB_ADDRESS}",
    ]
    inside(init, "ip", "-batch", "-", text="\n".join(inner))


def ports(hub: Process) -> dict[str, bool]:
    """The hosts' ends in the hub: name to whether it is attached to the bridge and up."""
    links = json.loads(inside(hub, "ip", "-json", "link", "show", "type", "veth"))
    return {
        link["ifname"]: link.get("master") == BRIDGE and "UP" in link["flags"]
        for link in links
        if link  # ip tells of a link of another type as of one without properties
    }


def unplug(hub: Process, host: str) -> None:
    """Pull the cable: the link goes down at once and stays down."""
    if host in ports(hub):
        inside(hub, "ip", "link", "set", host, "down")


def isolate(hub: Process, host: str) -> None:
    """Cut a host off from everybody without a sign on its own card, as a broken switch does."""
    inside(hub, "ip", "link", "set", host, "nomaster")


def rejoin(hub: Process, host: str) -> None:
    """Attach a host's end to the bridge again."""
    inside(hub, "ip", "link", "set", host, "master", BRIDGE, "up")


def cuts(state: Path) -> set[tuple[str, str]]:
    """The pairs of hosts that are cut off from each other, each pair sorted."""
    try:
        return {(one, other) for one, other in json.loads((state / "cuts.json").read_text())}
    except FileNotFoundError:
        return set()


def set_cuts(hub: Process, state: Path, pairs: set[tuple[str, str]]) -> None:
    """Drop frames between exactly these pairs, in both directions, in one transaction."""
    rules = [
        f'iifname "{source}" oifname "{target}" drop'
        for one, other in sorted(pairs)
        for source, target in ((one, other), (other, one))
    ]
    lines = [
        "add table bridge lab",
        "delete table bridge lab",
        "table bridge lab {",
        "chain cut {",
        "type filter hook forward priority 0",
        *rules,
        "}",
        "}",
    ]
    inside(hub, "nft", "-f", "-", text="\n".join(lines) + "\n")
    (state / "cuts.json").write_text(json.dumps(sorted(pairs)))
