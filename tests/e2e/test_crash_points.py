"""Daemons that die while a node enters or leaves a swarm, and the ones that are started after."""

from __future__ import annotations

import json
import shlex

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import nodes, ok, rows

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=2, workers=1, swarm=False)


def dies(lab: LabDriver, host: str, point: str, *command: str) -> None:
    """Run a command on a daemon that dies at the point meanwhile; the usual one comes after it."""
    state = lab.lab.layout.state / host
    programs = json.loads((state / "init-spec.json").read_text())["programs"]
    argv = next(program["argv"] for program in programs if program["name"] == "daemon")
    lab.hold_daemon(host, down=True)
    log = state / f"{point}.log"
    daemon = f"PYSWARM_CRASH={point} exec {shlex.join(argv)} >{log} 2>&1 </dev/null"
    lab.output(host, "sh", "-c", f"({daemon}) & echo started")
    lab.wait_until(lambda: b"daemon ready" in log.read_bytes(), what="the armed daemon is ready")
    said = lab.pyswarm(*command, host=host)
    assert said.returncode != 0, f"{command} succeeded, so nothing died at {point}"
    assert f"killed at crash point {point}" in log.read_text(), log.read_text()
    lab.hold_daemon(host, down=False)


def state(lab: LabDriver, host: str) -> str:
    lines = ok(lab, "info", host=host).splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("Swarm: "))


def ready(lab: LabDriver, host: str) -> None:
    # A node that left is still listed, as Down.
    wanted = {"Hostname": host, "Status": "Ready"}.items()
    lab.wait_until(
        lambda: any(wanted <= row.items() for row in rows(lab, "node", "ls")),
        what=f"{host} is Ready",
    )


def token(lab: LabDriver, role: str) -> str:
    return ok(lab, "swarm", "join-token", "-q", role).strip()


def test_a_node_that_died_while_it_founded_a_swarm_is_outside_and_founds_another(lab: LabDriver):
    dies(lab, "m1", "join.serving", "swarm", "init")
    assert state(lab, "m1") == "inactive"
    dies(lab, "m1", "join.remembered", "swarm", "init")
    assert state(lab, "m1") == "inactive"
    ok(lab, "swarm", "init")
    ready(lab, "m1")


@pytest.mark.parametrize("point", ["join.certified", "join.credentials-stored"])
def test_a_worker_that_died_before_it_remembered_the_swarm_is_outside_and_joins_again(
    lab: LabDriver, point: str
):
    join = ("swarm", "join", "--token", token(lab, "worker"), f"{lab.address('m1')}:2377")
    dies(lab, "w1", point, *join)
    assert state(lab, "w1") == "inactive"
    ok(lab, *join, host="w1")
    ready(lab, "w1")
    ok(lab, "swarm", "leave", host="w1")


def test_a_manager_that_died_before_the_raft_group_knew_of_it_asks_again(lab: LabDriver):
    join = ("swarm", "join", "--token", token(lab, "manager"), f"{lab.address('m1')}:2377")
    dies(lab, "m2", "join.serving", *join)
    lab.wait_until(lambda: nodes(lab)["m2"]["ManagerStatus"] == "Reachable", what="m2 is a manager")
    ready(lab, "m2")
    ok(lab, "swarm", "leave", "--force", host="m2")
    lab.wait_until(lambda: nodes(lab)["m2"]["Status"] == "Down", what="m2 has left")
    ok(lab, "node", "rm", "--force", "m2")


def test_a_manager_that_died_before_it_had_the_state_gets_it(lab: LabDriver):
    join = ("swarm", "join", "--token", token(lab, "manager"), f"{lab.address('m1')}:2377")
    dies(lab, "m2", "join.raft-joined", *join)
    lab.wait_until(lambda: nodes(lab)["m2"]["ManagerStatus"] == "Reachable", what="m2 is a manager")
    ready(lab, "m2")


def test_a_worker_that_died_while_it_joined_is_in_when_it_comes_back(lab: LabDriver):
    join = ("swarm", "join", "--token", token(lab, "worker"), f"{lab.address('m1')}:2377")
    dies(lab, "w1", "join.remembered", *join)
    ready(lab, "w1")
    assert state(lab, "w1") == "active"


@pytest.mark.parametrize(
    "point", ["leave.said-goodbye", "leave.wiped", "leave.disarmed", "leave.emptied"]
)
def test_a_worker_that_died_while_it_left_is_out_and_may_join_again(lab: LabDriver, point: str):
    dies(lab, "w1", point, "swarm", "leave")
    assert state(lab, "w1") == "inactive"
    join = ("swarm", "join", "--token", token(lab, "worker"), f"{lab.address('m1')}:2377")
    ok(lab, *join, host="w1")
    ready(lab, "w1")
