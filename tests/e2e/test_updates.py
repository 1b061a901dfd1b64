"""Updates and rollbacks on real containers: each end with its exit code, nothing hangs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=0)
FAST = (
    *("--update-monitor", "1s", "--rollback-monitor", "1s", "--stop-grace-period", "1s"),
    *("--update-parallelism", "0", "--rollback-parallelism", "0"),
)
NOWHERE = "registry:5000/no-such-image:1"


@pytest.fixture(scope="module")
def image(lab: LabDriver) -> str:
    return lab.push_image("updates:1", "sh", "-c", "trap exit TERM; sleep 9999 & wait")


def run(lab: LabDriver, *words: str, code: int = 0) -> str:
    """What a command says; it must end with this exit code."""
    result = lab.pyswarm(*words)
    said = result.stdout + result.stderr
    assert result.returncode == code, f"{' '.join(words)}: {result.returncode}, not {code}: {said}"
    return said


def create(lab: LabDriver, name: str, image: str, *flags: str, replicas: str = "2") -> None:
    run(lab, "service", "create", "--name", name, "--replicas", replicas, *FAST, *flags, image)


def service(lab: LabDriver, name: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(run(lab, "service", "inspect", name))[0]
    return found


def environment(lab: LabDriver, name: str) -> str:
    return str(service(lab, name)["Spec"]["Task"]["Container"]["Env"])  # type: ignore[index]


def state(lab: LabDriver, name: str) -> object:
    return service(lab, name)["UpdateStatus"]["State"]


def test_a_failing_update_pauses_and_is_aborted(lab: LabDriver, image: str) -> None:
    create(lab, "pauses", image)
    said = run(lab, "service", "update", "--args", "sh -c 'exit 3'", "pauses", code=4)
    assert "service update paused: update paused due to failure or early termination" in said
    assert "pauses" in run(lab, "service", "ls", "--filter", "update=paused")
    said = run(lab, "service", "update", "--abort", "pauses")
    assert "overall progress: 2 out of 2 tasks" in said
    pretty = run(lab, "service", "inspect", "--pretty", "pauses")
    assert " State:\t\trollback_completed\n" in pretty
    refused = run(lab, "service", "update", "--continue", "pauses", code=1)
    assert "no paused update to continue" in refused


def test_a_failing_update_is_rolled_back_and_the_history_says_why(
    lab: LabDriver, image: str
) -> None:
    rollback = ("--update-failure-action", "rollback")
    create(lab, "returns", image, "--env", "A=1", *rollback, replicas="1")
    change = ("service", "update", "--env-add", "A=2", "--args", "sh -c 'exit 3'", "returns")
    said = run(lab, *change, code=3)
    assert "service rolled back: update rolled back due to failure or early termination" in said
    assert environment(lab, "returns") == "['A=1']"
    newest, broken, oldest = run(lab, "service", "history", "--no-trunc", "returns").splitlines()[
        1:
    ]
    assert newest.startswith("3 *")
    assert "update rolled back due to failure" in newest
    assert "env: +A=2 -A=1" in broken
    assert f"image: {image}" in oldest
    # Forward again, and back to a number.
    run(lab, "service", "update", "--env-add", "A=4", "returns")
    run(lab, "service", "rollback", "--to", "1", "returns")
    assert environment(lab, "returns") == "['A=1']"
    run(lab, "service", "rollback", "returns")
    assert environment(lab, "returns") == "['A=4']"
    assert "has no revision 77" in run(lab, "service", "rollback", "--to", "77", "returns", code=1)


def test_the_deadline_ends_what_can_never_be(lab: LabDriver, image: str) -> None:
    create(lab, "stuck", image, "--update-progress-deadline", "4s", replicas="1")
    said = run(lab, "service", "update", "--constraint-add", "node.labels.x==y", "stuck", code=5)
    assert "service update paused: update paused since nothing has come forward for 4s" in said
    assert "scheduling constraints not satisfied on 1 node" in said
    # An image that does not exist fails at once, whatever the deadline.
    action = ("--update-failure-action", "rollback", "--constraint-rm", "node.labels.x==y")
    said = run(lab, "service", "update", *action, "--image", NOWHERE, "stuck", code=3)
    assert "no-such-image" in said
    flags = ("--update-progress-deadline", "3s", "--constraint", "node.labels.x==y")
    said = run(lab, "service", "create", "--name", "never", *flags, image, code=5)
    assert "timed out: nothing has come forward for 3 seconds" in said
    assert "scheduling constraints not satisfied" in said


def test_who_has_enough_of_a_wait_leaves_it_and_the_operation_goes_on(
    lab: LabDriver, image: str
) -> None:
    flags = ("--detach", "--constraint", "node.labels.x==y")
    run(lab, "service", "create", "--name", "someday", *flags, image)
    left = lab.exec("m1", "timeout", "-s", "INT", "8", "pyswarm", "service", "scale", "someday=2")
    assert "Operation continuing in background" in left.stderr
    assert service(lab, "someday")["Spec"]["Replicas"] == 2


def test_an_update_waits_for_its_operator_and_scaling_joins_it(lab: LabDriver, image: str) -> None:
    create(lab, "slow", image, "--update-delay", "1h", "--update-parallelism", "1")
    run(lab, "service", "update", "--detach", "--force", "slow")
    assert "slow" in run(lab, "service", "update", "--pause", "slow")
    assert state(lab, "slow") == "paused"
    run(
        lab,
        "service",
        "update",
        "--detach",
        "--continue",
        "--update-order",
        "stop-first",
        "slow",
        code=1,
    )
    run(lab, "service", "update", "--detach", "--continue", "slow")
    assert state(lab, "slow") == "updating"
    run(lab, "service", "update", "--update-delay", "0s", "--replicas", "3", "slow")
    assert state(lab, "slow") == "completed"


def test_an_unchanged_stack_is_deployed_at_once(lab: LabDriver, image: str, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text(
        f"services: {{web: {{image: '{image}', deploy: {{update_config: "
        "{monitor: 30s, x-progress-deadline: 90s}}}}\n"
    )
    run(lab, "stack", "deploy", "--detach", "-c", str(path), "same")
    lab.wait_until(
        lambda: "1/1" in run(lab, "stack", "services", "same"), what="the stack's task runs"
    )
    begun = time.monotonic()
    assert "1 out of 1 tasks" in run(lab, "stack", "deploy", "-c", str(path), "same")
    assert time.monotonic() - begun < 15
    config = service(lab, "same_web")["Spec"]["Update"]
    assert config["ProgressDeadlineSeconds"] == 90  # type: ignore[index]
