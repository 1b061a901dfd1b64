"""Managers are lost: what runs goes on, and the swarm is managed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import (
    containers,
    fails,
    nodes,
    ok,
    push_site,
    rows,
    running,
    wait_page,
    wait_running,
)

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=2)


def status(lab: LabDriver, host: str) -> dict:
    return json.loads(ok(lab, "swarm", "status", "--format", "json", host=host))


def names(lab: LabDriver, kind: str, host: str) -> list[str]:
    return [row["Name"] for row in rows(lab, kind, "ls", host=host)]


def go_on_with_one_of_three(lab: LabDriver) -> None:
    """m2 and m3 lose their power; m1 goes on alone."""
    refused = fails(lab, "swarm", "init", "--force-new-cluster")
    assert "has its quorum" in refused
    lab.kill("m2")
    lab.kill("m3")
    lab.wait_until(lambda: not status(lab, "m1")["leader"], what="nobody leads")
    seen = status(lab, "m1")
    assert (seen["managers"], seen["quorum"], seen["reachable"]) == (3, 2, 1)
    assert "Quorum is lost" in seen["advice"][0]
    assert [m["hostname"] for m in seen["members"] if not m["reachable"]] == ["m2", "m3"]

    plan = ok(lab, "swarm", "init", "--force-new-cluster", "--dry-run")
    assert "m2" in plan
    assert "Nothing was changed" in plan
    assert status(lab, "m1")["managers"] == 3
    ok(lab, "swarm", "init", "--force-new-cluster")
    seen = status(lab, "m1")
    assert (seen["leader"], seen["managers"], seen["advice"][1:]) == ("m1", 1, [])
    lab.wait_until(lambda: nodes(lab)["w1"]["Status"] == "Ready", what="w1 is back")
    found = nodes(lab)
    assert [found[name]["Status"] for name in ("m2", "m3")] == ["Down", "Down"]
    assert [found[name]["ManagerStatus"] for name in ("m1", "m2", "m3")] == ["Leader", "", ""]


def test_a_swarm_survives_the_loss_of_its_managers(fresh_lab: LabDriver, tmp_path: Path) -> None:
    lab = fresh_lab
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "secret").write_text("x")
    secret = ("--passphrase-file", str(tmp_path / "passphrase"))
    file = str(tmp_path / "swarm.backup")
    flags = ("--constraint", "node.hostname==w1", "--publish", "8080:80")
    ok(lab, "service", "create", "-q", "--name", "web", "--replicas", "2", *flags, push_site(lab))
    before = containers(lab, "w1")
    assert len(before) == 2
    assert "not a swarm manager" in fails(lab, "swarm", "status", host="w1")

    ok(lab, "config", "create", "first", "/etc/hostname")
    ok(lab, "swarm", "backup", *secret, file, host="m3")
    listed = ok(lab, "swarm", "restore", "--dry-run", *secret, file, host="w2")
    assert "1 services" in listed
    assert "1 configs" in listed, "a follower's backup has what was just acknowledged"
    ok(lab, "config", "rm", "first")

    go_on_with_one_of_three(lab)
    ok(lab, "secret", "create", "kept", str(tmp_path / "secret"))
    assert containers(lab, "w1") == before

    ok(lab, "swarm", "backup", *secret, file)
    assert Path(file).stat().st_mode & 0o777 == 0o600
    cluster = status(lab, "m1")["cluster_id"]
    tasks = running(lab, "web")
    ok(lab, "config", "create", "later", "/etc/hostname")
    ok(lab, "swarm", "leave", host="w2")
    lab.kill("m1")
    assert "Swarm: inactive" in ok(lab, "info", host="w2")
    ok(lab, "swarm", "restore", *secret, file, host="w2")
    assert status(lab, "w2")["cluster_id"] == cluster
    assert "w1" in status(lab, "w2")["advice"][0]
    assert nodes(lab, "w2")["w1"]["Status"] == "Unknown"
    assert running(lab, "web", "w2") == tasks
    ok(lab, "swarm", "reconnect", lab.address("w2"), host="w1")
    lab.wait_until(lambda: nodes(lab, "w2")["w1"]["Status"] == "Ready", what="w1 is back")
    assert containers(lab, "w1") == before
    assert names(lab, "secret", "w2") == ["kept"]
    assert names(lab, "config", "w2") == []
    ok(lab, "service", "scale", "web=3", host="w2")
    assert set(wait_running(lab, "web", 3, "w2")) > set(tasks)
    assert before.items() <= containers(lab, "w1").items()
    assert wait_page(lab, "w2")
