"""A task runs when its health check says so, and a task that ended says of what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import ok, push_site, rows, running, wait_page, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=0)


def health(lab: LabDriver, task_id: str) -> dict[str, Any]:
    (task,) = json.loads(ok(lab, "inspect", task_id))
    found: dict[str, Any] = task["Status"]["Health"]
    return found


def test_a_task_lives_with_its_health_check(lab: LabDriver) -> None:
    """Not reached before it is healthy, reached through a restart of the daemon, then replaced."""
    lab.output("m1", "mkdir", "-p", "/run/well")
    check = ("--health-cmd", "cat /well/ok", "--health-interval", "1s", "--health-retries", "2")
    place = ("--mount", "type=bind,source=/run/well,target=/well", "-p", "8080:80")
    slow = ("--health-start-period", "1m", "--health-start-interval", "200ms")
    ok(
        lab,
        "service",
        "create",
        "--detach",
        "--restart-delay",
        "0s",
        "--name",
        "w",
        *check,
        *slow,
        *place,
        push_site(lab),
    )

    def starting() -> bool:
        (row,) = rows(lab, "service", "ps", "w")
        said = health(lab, row["ID"])
        assert row["CurrentState"].startswith("Starting")
        assert said["State"] == "starting"
        return "can't open '/well/ok'" in said["Log"][0]["Output"]

    lab.wait_until(starting, what="inspect shows what the check says")
    with pytest.raises(OSError, match="refused"):
        lab.fetch("m1", 8080)
    lab.output("m1", "touch", "/run/well/ok")
    wait_page(lab, "m1")
    before = wait_running(lab, "w", 1)
    (first,) = before
    assert health(lab, first)["State"] == "healthy"

    lab.kill_daemon("m1")
    for _ in range(40):
        assert lab.fetch("m1", 8080)[0] == 200
    lab.wait_until(lambda: running(lab, "w") == before, what="the daemon is back")

    lab.output("m1", "rm", "/run/well/ok")

    def replaced() -> bool:
        old = next(r for r in rows(lab, "service", "ps", "w", "--no-trunc") if first in r["ID"])
        assert old["CurrentState"].startswith("Failed")
        assert "unhealthy container: cat: can't open '/well/ok'" in old["Error"]
        assert "task: non-zero exit (" in old["Error"]
        return True

    lab.wait_until(replaced, what="the unhealthy task has failed")
    assert health(lab, first)["FailingStreak"] == 2
    lab.output("m1", "touch", "/run/well/ok")
    assert first not in wait_running(lab, "w", 1)
    ok(lab, "service", "rm", "w")


def test_a_task_that_wanted_too_much_memory_says_so(lab: LabDriver) -> None:
    greedy = ("sh", "-c", "exec tail -c 200m /dev/zero")
    limits = ("--limit-memory", "16m", "--restart-condition", "none")
    ok(lab, "service", "create", "--detach", "--name", "g", *limits, push_site(lab), *greedy)

    def told() -> bool:
        (row,) = rows(lab, "service", "ps", "g", "--no-trunc")
        assert "container killed: out of memory (limit 16MiB)" in row["Error"]
        return "non-zero exit (137)" in row["Error"]

    lab.wait_until(told, what="service ps names the want of memory")
    ok(lab, "service", "rm", "g")
