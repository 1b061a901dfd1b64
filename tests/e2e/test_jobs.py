"""Jobs on two hosts: one that completes and runs again, one that fails, one for each node."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import ok, rows

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=1)


@pytest.fixture(scope="module")
def image(lab: LabDriver) -> str:
    return lab.push_image("job:1", "sh", "-c", "echo done")


def create(lab: LabDriver, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.pyswarm("service", "create", *arguments)


def replicas(lab: LabDriver, name: str) -> str:
    [row] = [r for r in rows(lab, "service", "ls") if r["Name"] == name]
    return str(row["Replicas"])


def states(lab: LabDriver, name: str) -> Counter[tuple[str, str]]:
    """(desired, current) of the tasks."""
    tasks = rows(lab, "service", "ps", name)
    return Counter((t["DesiredState"], t["CurrentState"].split()[0]) for t in tasks)


def test_a_job_completes_and_a_forced_update_runs_it_again(lab: LabDriver, image: str) -> None:
    flags = ("--mode", "replicated-job", "--replicas", "3", "--max-concurrent", "2")
    done = create(lab, "--name", "three", *flags, image)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("job complete")
    assert "job progress: 3 out of 3 complete" in done.stdout
    assert "active tasks: 3" not in done.stdout
    assert replicas(lab, "three") == "0/2 (3/3 completed)"
    assert states(lab, "three") == {("Complete", "Complete"): 3}
    ok(lab, "service", "update", "--force", "-q", "three")
    assert replicas(lab, "three") == "0/2 (3/3 completed)"
    assert states(lab, "three") == {("Complete", "Complete"): 3, ("Shutdown", "Complete"): 3}
    ok(lab, "service", "rm", "--wait", "three")


def test_a_job_that_fails_for_good_says_why(lab: LabDriver, image: str) -> None:
    flags = ("--mode", "replicated-job", "--restart-max-attempts", "1", "--restart-delay", "100ms")
    done = create(lab, "--name", "broken", *flags, image, "sh", "-c", "exit 3")
    assert done.returncode == 1
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith("job failed: task ")
    assert last.endswith("task: non-zero exit (3)")
    assert states(lab, "broken") == {("Shutdown", "Failed"): 2}
    ok(lab, "service", "rm", "--wait", "broken")


def test_a_global_job_runs_once_on_each_node(lab: LabDriver, image: str) -> None:
    ok(lab, "service", "create", "-q", "--name", "each", "--mode", "global-job", image)
    assert replicas(lab, "each") == "0/0 (2/2 completed)"
    assert {t["Node"] for t in rows(lab, "service", "ps", "each")} == {"m1", "w1"}
    ok(lab, "service", "rm", "--wait", "each")


def test_a_stack_waits_for_its_job(lab: LabDriver, image: str, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text(
        f"services:\n  migrate:\n    image: {image}\n    command: [sh, -c, 'exit $$CODE']\n"
        "    environment: {CODE: '${CODE}'}\n"
        "    deploy: {mode: replicated-job, restart_policy: {condition: none}}\n"
        f"  other:\n    image: {image}\n    deploy: {{mode: global-job}}\n"
    )

    def deploy(code: str) -> subprocess.CompletedProcess[str]:
        return lab.exec("m1", "env", f"CODE={code}", "pyswarm", "stack", "deploy", str(path), "db")

    done = deploy("0")
    assert done.returncode == 0, done.stderr
    assert "db_migrate  1/1 completed  complete" in done.stdout
    done = deploy("4")
    assert done.returncode == 1
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith("db_migrate  0/1 completed  job failed: task ")
    assert last.endswith("task: non-zero exit (4)")
    ok(lab, "stack", "rm", "db")
