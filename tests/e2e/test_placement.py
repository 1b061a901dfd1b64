"""Where tasks go, and what a user is told of it: constraints, preferences, generic resources."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyswarm.lab import host
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import fails, ok, push_site, rows, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=1)


@pytest.fixture(scope="module")
def site(lab: LabDriver) -> str:
    return push_site(lab)


@contextmanager
def offering(lab: LabDriver, name: str, *pieces: str) -> Iterator[None]:
    """Let a host's daemon run with generic resources to offer."""
    pid = host.program_pid(lab.lab.layout, name, "daemon")
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        argv = [part.decode() for part in file.read().split(b"\0") if part]
    for piece in pieces:
        argv += ["--generic-resource", piece]
    lab.hold_daemon(name, down=True)
    command = f"setsid {shlex.join(argv)} >/run/offering.log 2>&1 & echo $!"
    own = int(lab.output(name, "sh", "-c", command))
    try:
        yield
    finally:
        lab.exec(name, "kill", "-TERM", str(own))
        gone = lambda: lab.exec(name, "kill", "-0", str(own)).returncode != 0  # noqa: E731
        lab.wait_until(gone, what=f"the daemon of {name} ends")
        lab.hold_daemon(name, down=False)


def pending_error(lab: LabDriver, service: str) -> str:
    """What `service ps` says of the service's one task that waits."""
    said: list[str] = []

    def refused() -> bool:
        said[:] = [row["Error"] for row in rows(lab, "service", "ps", "--no-trunc", service)]
        return bool(said and said[0])

    lab.wait_until(refused, what=f"{service} is told why it waits")
    return said[0]


def test_a_task_that_fits_nowhere_says_why_for_each_node(lab: LabDriver, site: str) -> None:
    ok(lab, "node", "update", "--label-add", "zone=a", "m1")
    ok(lab, "node", "update", "--label-add", "zone=b", "w1")
    wish = ("--constraint", "node.labels.zone==b", "--reserve-memory", "900g")
    ok(lab, "service", "create", "-d", "--name", "big", *wish, site)
    assert pending_error(lab, "big").strip('"') == (
        "no suitable node (scheduling constraints not satisfied on 1 node; "
        "insufficient resources on 1 node)"
    )
    told = ok(lab, "task", "explain", "big.1")
    short = r"[\d.]+GiB of memory free, 900GiB reserved\n"
    assert re.search(rf"  m1: label zone is a, not b; {short}", told)
    assert re.search(rf"  w1: {short}", told)
    found = json.loads(ok(lab, "task", "explain", "--format", "json", "big"))
    assert {node for refusal in found["refusals"] for node in refusal["nodes"]} == {"m1", "w1"}
    ok(lab, "service", "update", "-d", "--reserve-memory", "8m", "big")
    assert set(wait_running(lab, "big", 1).values()) == {"w1"}
    told = ok(lab, "task", "explain", "big.1")
    assert "it is on w1, which is number 1 of 1 that could have it now" in told
    assert "1. w1 (here): 0 other tasks of the service" in told
    assert "no such task or service: nothing" in fails(lab, "task", "explain", "nothing")
    ok(lab, "service", "rm", "big")


def test_named_resources_are_given_to_tasks_by_name(lab: LabDriver, site: str) -> None:
    with offering(lab, "w1", "GPU=UUID1", "GPU=UUID2"):
        ok(lab, "service", "create", "-d", "--name", "gpu", "--replicas", "3",
           "--generic-resource", "GPU=1", "--entrypoint", "sh -c",
           site, 'echo "given $DOCKER_RESOURCE_GPU"; exec sleep 1000')  # fmt: skip
        assert set(wait_running(lab, "gpu", 2).values()) == {"w1"}
        told = ok(lab, "task", "explain", "gpu")
        assert "  m1, w1: 0 GPU free, 1 reserved\n" in told
        wanted = ["given UUID1", "given UUID2"]
        lines = lambda: sorted(ok(lab, "service", "logs", "--raw", "gpu").splitlines())  # noqa: E731
        lab.wait_until(lambda: lines() == wanted, what="each has a piece of its own")
        ok(lab, "service", "rm", "--wait", "gpu")


def test_binpack_fills_a_node_and_spread_is_back_afterwards(lab: LabDriver, site: str) -> None:
    ok(lab, "swarm", "update", "--placement-strategy", "binpack")
    wish = ("--replicas", "4", "--reserve-memory", "8m")
    ok(lab, "service", "create", "-d", "--name", "dense", *wish, site)
    assert len(set(wait_running(lab, "dense", 4).values())) == 1
    ok(lab, "swarm", "update", "--placement-strategy", "spread")
    ok(lab, "service", "rm", "--wait", "dense")
    ok(lab, "service", "create", "-d", "--name", "wide", *wish, site)
    placed = list(wait_running(lab, "wide", 4).values())
    assert sorted(placed) == ["m1", "m1", "w1", "w1"]
    ok(lab, "service", "rm", "wide")
