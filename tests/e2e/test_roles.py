"""Managers come and go while services run: promoted, demoted, stopped, drained, removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import (
    containers,
    fails,
    leader,
    nodes,
    ok,
    push_site,
    rows,
    wait_running,
)

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=1)


def managers(lab: LabDriver, host: str) -> set[str]:
    """The hosts that are managers and answer, as a host sees it."""
    answering = ("Leader", "Reachable")
    return {n for n, row in nodes(lab, host).items() if row["ManagerStatus"] in answering}


def wait_managers(lab: LabDriver, host: str, *names: str) -> None:
    what = f"{', '.join(names)} are the managers"
    lab.wait_until(lambda: managers(lab, host) == set(names), what=what)


def state(lab: LabDriver, name: str) -> Path:
    """Where a host's manager keeps what it knows."""
    return lab.lab.layout.state / name / "pyswarm" / "manager"


def restarted(lab: LabDriver, before: dict[str, dict[str, tuple[str, str]]]) -> list[str]:
    """The hosts whose containers are other ones than before."""
    return [host for host in lab.hosts if containers(lab, host) != before[host]]


def test_roles_change_and_no_container_notices(lab: LabDriver) -> None:
    image = push_site(lab)
    ok(lab, "service", "create", "-q", "--name", "web", "--replicas", "4", image)
    wait_running(lab, "web", 4)
    before = {host: containers(lab, host) for host in lab.hosts}
    assert all(before.values()), before

    # A worker becomes the fourth manager, and the old leader may die.
    assert ok(lab, "node", "promote", "w1") == "Node w1 promoted to a manager in the swarm.\n"
    wait_managers(lab, "w1", "m1", "m2", "m3", "w1")
    assert ok(lab, "node", "promote", "w1") == "Node w1 is already a manager.\n"
    old = leader(lab)
    other = next(name for name in ("m1", "m2", "m3") if name != old)
    lab.hold_daemon(old, down=True)
    ok(lab, "config", "create", "by-w1", "/etc/hostname", host="w1")
    lab.hold_daemon(old, down=False)
    wait_managers(lab, other, "m1", "m2", "m3", "w1")

    # The leader is demoted, and learns it.
    old = leader(lab, other)
    assert state(lab, old).exists()
    asked = next(name for name in ("m1", "m2", "m3") if name != old)
    assert ok(lab, "node", "demote", old, host=asked) == f"Manager {old} demoted in the swarm.\n"
    rest = {"m1", "m2", "m3", "w1"} - {old}
    wait_managers(lab, asked, *rest)
    assert leader(lab, asked) in rest
    lab.wait_until(lambda: "not a swarm manager" in fails(lab, "node", "ls", host=old), what="told")
    lab.wait_until(lambda: not state(lab, old).exists(), what="it keeps no state of the swarm")

    # Of three with one down, no other may go; the one that is down may, and returns as a worker.
    down = next(name for name in sorted(rest) if name not in (asked, leader(lab, asked)))
    third = next(name for name in rest if name not in (asked, down))
    lab.hold_daemon(down, down=True)
    lab.wait_until(
        lambda: nodes(lab, asked)[down]["ManagerStatus"] == "Unreachable", what=f"{down} is missed"
    )
    assert "loss of quorum" in fails(lab, "node", "demote", third, host=asked)
    ok(lab, "node", "demote", down, host=asked)
    wait_managers(lab, asked, asked, third)
    lab.hold_daemon(down, down=False)
    lab.wait_until(
        lambda: "not a swarm manager" in fails(lab, "node", "ls", host=down), what="it is a worker"
    )
    names = [row["Name"] for row in rows(lab, "config", "ls", host=third)]
    assert "by-w1" in names

    # Promoted again, both are managers again; a drained leader leads no longer.
    ok(lab, "node", "promote", old, down, host=asked)
    wait_managers(lab, asked, "m1", "m2", "m3", "w1")
    assert restarted(lab, before) == []
    old = leader(lab, asked)
    ok(lab, "node", "update", "--availability", "drain", old, host=asked)
    lab.wait_until(lambda: leader(lab, asked) not in ("", old), what="another one leads")
    ok(lab, "node", "update", "--availability", "active", old, host=asked)
