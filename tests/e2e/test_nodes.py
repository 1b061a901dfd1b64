"""Nodes that are cut off, drained and gone, and what their tasks do meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import ok, rows

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=2)
WORKERS = ("w1", "w2")
TIMED_OUT = 5


@pytest.fixture(scope="module")
def image(lab: LabDriver) -> str:
    return lab.push_image("sleeper:1", "sh", "-c", "while :; do sleep 1; done")


def create(lab: LabDriver, name: str, *arguments: str) -> None:
    flags = ("--update-monitor", "0s", "--stop-grace-period", "1s")
    ok(lab, "service", "create", "-q", "--name", name, *flags, *arguments)


def running(lab: LabDriver, name: str) -> list[dict[str, Any]]:
    """The tasks that run and shall run."""
    return [
        task
        for task in rows(lab, "service", "ps", "--no-trunc", name)
        if task["DesiredState"] == "Running" and task["CurrentState"].startswith("Running")
    ]


def writers(lab: LabDriver, mark: str) -> list[str]:
    """The hosts on which a process with that mark in its command line runs."""
    found = {host: lab.exec(host, "pgrep", "-f", f"^sh -c : {mark}") for host in WORKERS}
    return [host for host, done in found.items() if done.returncode == 0]


def state_of(lab: LabDriver, host: str) -> str:
    [row] = [row for row in rows(lab, "node", "ls") if row["Hostname"] == host]
    return str(row["Status"])


def test_a_single_writer_runs_never_twice_and_what_is_kept_is_adopted(
    lab: LabDriver, image: str
) -> None:
    loop = ("sh", "-c", ": single-writer; trap 'exit 0' TERM; while :; do sleep 0.2; done")
    lease = ("--on-partition", "stop-after=10s", "--constraint", "node.role==worker")
    create(lab, "single", *lease, image, *loop)
    [host] = writers(lab, "single-writer")
    [other] = [each for each in WORKERS if each != host]
    place = ("--reschedule-after", "10m", "--constraint", f"node.hostname=={host}")
    create(lab, "kept", *place, image)
    [kept] = running(lab, "kept")
    lab.partition(host)
    try:
        lab.wait_until(lambda: state_of(lab, host) == "Down", what=f"{host} is down")
        stopped = False

        def moved() -> bool:
            nonlocal stopped
            now = writers(lab, "single-writer")
            assert_once(now)
            stopped = stopped or not now
            return now == [other]

        def assert_once(now: list[str]) -> None:
            if len(now) > 1:
                pytest.fail(f"the single writer runs on {now}")

        lab.wait_until(moved, what=f"the single writer runs on {other}")
        assert stopped, "there was no time between the two"
    finally:
        lab.heal(host)
    lab.wait_until(lambda: state_of(lab, host) == "Ready", what=f"{host} is back")
    assert [task["ID"] for task in rows(lab, "service", "ps", "--no-trunc", "kept")] == [kept["ID"]]
    lab.wait_until(lambda: running(lab, "kept"), what="what was kept still runs")
    [single] = running(lab, "single")
    assert single["Node"] == other
    old = [t for t in rows(lab, "service", "ps", "--no-trunc", "single") if t["Node"] == host]
    assert "no contact with a manager for 10 s" in old[0]["Error"]
    ok(lab, "service", "rm", "--wait", "single", "kept")


def test_drain_waits_until_a_node_is_empty_and_says_what_does_not_move(
    lab: LabDriver, image: str
) -> None:
    where = ("--constraint", "node.role==worker", "--update-order", "start-first")
    create(lab, "web", "--replicas", "2", *where, image)
    done = lab.pyswarm("node", "update", "--availability", "drain", "--wait", "w1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "drain: node w1 is empty"
    assert {task["Node"] for task in running(lab, "web")} == {"w2"}
    stuck = lab.pyswarm("node", "drain", "--timeout", "3s", "w2")
    assert stuck.returncode == TIMED_OUT
    assert "node w2 is not empty after 3 seconds: it still has 2 tasks: web.1" in stuck.stderr
    assert "no suitable node" in stuck.stderr
    assert len(running(lab, "web")) == 2, "start-first stops nothing that has no other place"
    for host in WORKERS:
        ok(lab, "node", "update", "--availability", "active", host)
    ok(lab, "service", "rm", "--wait", "web")


def test_a_node_is_shown_with_what_is_reserved_and_its_certificate(
    lab: LabDriver, image: str
) -> None:
    create(lab, "big", "--reserve-memory", "32m", "--constraint", "node.hostname==w1", image)
    text = ok(lab, "node", "inspect", "--pretty", "w1")
    assert "(32MiB reserved)" in text
    [found] = json.loads(ok(lab, "node", "inspect", "w1"))
    assert (found["TLSStatus"], found["Reserved"]["MemoryBytes"]) == ("Ready", 32 << 20)
    form = "{{.Hostname}} {{.TLSStatus}} {{.ReservedMemory}}"
    assert "w1 Ready 32MiB" in ok(lab, "node", "ls", "--format", form).splitlines()
    ok(lab, "service", "rm", "--wait", "big")


def test_a_node_that_leaves_is_not_waited_for(lab: LabDriver, image: str) -> None:
    where = ("--constraint", "node.role==worker", "--on-partition", "stop-after=10m")
    create(lab, "two", "--replicas", "2", *where, image)
    assert {task["Node"] for task in running(lab, "two")} == set(WORKERS)
    ok(lab, "swarm", "leave", host="w2")
    assert state_of(lab, "w2") == "Down"
    lab.wait_until(
        lambda: (
            {t["Node"] for t in running(lab, "two")} == {"w1"} and len(running(lab, "two")) == 2
        ),
        deadline_seconds=30,
        what="both tasks run on w1, and no lease of ten minutes is waited for",
    )
    ok(lab, "node", "rm", "w2")
    assert "w2" not in {row["Hostname"] for row in rows(lab, "node", "ls")}
