"""Two hundred tasks on one host: the daemon has more than 1024 files open then."""

from __future__ import annotations

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import containers, ok, rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LAB = LabSettings(managers=1, workers=0)
CROWD = 200


def replicas(lab: LabDriver) -> str:
    [row] = rows(lab, "service", "ls")
    return str(row["Replicas"])


def test_two_hundred_tasks_run_on_one_host_and_leave_nothing_behind(lab: LabDriver) -> None:
    image = lab.push_image("sleeper:1", "sleep", "3600")
    ok(lab, "network", "create", "crowd")
    before = lab.leftovers("m1")
    flags = ("--replicas", str(CROWD), "--network", "crowd", "--stop-grace-period", "0s")
    ok(lab, "service", "create", "--detach", "--name", "sleepers", *flags, image)
    lab.wait_until(
        lambda: replicas(lab) == f"{CROWD}/{CROWD}",
        deadline_seconds=240,
        what=f"{CROWD} tasks run",
    )
    assert len(containers(lab, "m1")) == CROWD
    ok(lab, "service", "rm", "--wait", "sleepers")
    lab.wait_until(
        lambda: not lab.leftovers("m1") - before,
        deadline_seconds=120,
        what="nothing of them is left",
    )
