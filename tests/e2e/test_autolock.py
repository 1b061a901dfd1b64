"""Managers whose keys are sealed: what a restart asks for, and what it gives without an answer."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from certs import keyfile
from certs.keyfile import LOCKED, KeyFile
from certs.unlock import Locked, parse_unlock_key
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import (
    containers,
    fails,
    leader,
    nodes,
    ok,
    push_site,
    wait_page,
    wait_running,
)

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=1)
MANAGERS = ("m1", "m2", "m3")
INVALID = "Error: swarm could not be unlocked: invalid key provided"
STRANGE = "SWMKEY-1-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def info(lab: LabDriver, host: str) -> dict[str, Any]:
    return dict(json.loads(ok(lab, "info", "--format", "json", host=host)))


@cache
def state(lab: LabDriver, host: str) -> Path:
    return Path(info(lab, host)["state_directory"])


def keys(lab: LabDriver, host: str, key: str = "") -> KeyFile:
    """What the host's file of keys holds; raises where the key is not its own."""
    content = (state(lab, host) / "certificates" / "node.pem").read_bytes()
    return keyfile.decode(content, parse_unlock_key(key) if key else b"")


def unlock(lab: LabDriver, host: str, key: str) -> subprocess.CompletedProcess[str]:
    return lab.exec(host, "sh", "-c", f"echo {key} | pyswarm swarm unlock")


def refused(lab: LabDriver, host: str, key: str) -> None:
    answer = unlock(lab, host, key)
    assert answer.returncode == 1
    assert answer.stderr.startswith(INVALID)


def wait_sealed(lab: LabDriver, host: str, key: str) -> None:
    """Wait until the host's keys are under this key, and the log under one new data key."""
    lab.wait_until(
        lambda: not keys(lab, host, key).ring.rotating, what=f"{host} is sealed with the new key"
    )


def wait_whole(lab: LabDriver, host: str = "m1") -> None:
    lab.wait_until(
        lambda: (
            leader(lab, host) and all(row["Status"] == "Ready" for row in nodes(lab, host).values())
        ),
        what="every host is Ready and there is a leader",
    )


def current_key(lab: LabDriver, host: str = "m1") -> str:
    return ok(lab, "swarm", "unlock-key", "-q", host=host).strip()


@pytest.fixture(scope="module")
def locked(lab: LabDriver) -> LabDriver:
    """A swarm with a task on every host, and then with autolock."""
    image = push_site(lab)
    flags = ("--mode", "global", "--publish", "8080:80")
    ok(lab, "service", "create", "-q", "--name", "web", *flags, image)
    wait_running(lab, "web", 4)
    assert fails(lab, "swarm", "unlock-key") == "Error: no unlock key is set"
    said = ok(lab, "swarm", "update", "--autolock")
    key = current_key(lab)
    assert f"provide the following key:\n\n    {key}\n" in said
    for host in MANAGERS:
        wait_sealed(lab, host, key)
    return lab


def test_a_manager_that_restarts_does_nothing_until_it_is_unlocked(locked: LabDriver) -> None:
    key = current_key(locked)
    locked.restart_daemon("m2")
    seen = info(locked, "m2")
    assert (seen["state"], seen["manager"], seen["leader"]) == ("locked", True, False)
    for command in (("node", "ls"), ("service", "ls"), ("swarm", "unlock-key")):
        assert fails(locked, *command, host="m2") == f"Error: {LOCKED}"
    assert "already part of a swarm" in fails(locked, "swarm", "init", host="m2")
    assert "locked. Please unlock it first" in fails(locked, "swarm", "leave", host="m2")
    for wrong in (STRANGE, "nonsense", ""):
        refused(locked, "m2", wrong)
    assert info(locked, "m2")["state"] == "locked"
    assert wait_page(locked, "m2"), "its containers serve while it is locked"
    assert unlock(locked, "m2", key).returncode == 0
    wait_whole(locked, "m2")
    wait_running(locked, "web", 4)
    assert fails(locked, "swarm", "unlock", host="m2") == "Error: swarm is not locked"


def test_a_worker_restarts_by_itself(locked: LabDriver) -> None:
    assert keys(locked, "w1").ring.keys == {}
    locked.restart_daemon("w1")
    locked.wait_until(lambda: info(locked, "w1")["state"] == "active", what="w1 is back")
    wait_whole(locked)


def test_a_manager_that_missed_a_rotation_opens_with_the_key_that_it_knows(
    locked: LabDriver,
) -> None:
    old = current_key(locked)
    data_key = keys(locked, "m3", old).ring.current
    locked.hold_daemon("m3", down=True)
    new = ok(locked, "swarm", "unlock-key", "--rotate", "-q").strip()
    assert new == current_key(locked) != old
    for host in ("m1", "m2"):
        wait_sealed(locked, host, new)
    locked.hold_daemon("m3", down=False)
    refused(locked, "m3", new)
    assert unlock(locked, "m3", old).returncode == 0
    wait_sealed(locked, "m3", new)
    assert keys(locked, "m3", new).ring.current == data_key + 1
    locked.restart_daemon("m3")
    refused(locked, "m3", old)
    assert unlock(locked, "m3", new).returncode == 0
    wait_whole(locked, "m3")


def test_a_promoted_worker_is_sealed_and_a_demoted_manager_is_open(locked: LabDriver) -> None:
    key = current_key(locked)
    ok(locked, "node", "promote", "w1")
    locked.wait_until(lambda: keys(locked, "w1", key).ring.keys, what="w1 has a data key")
    with pytest.raises(Locked):
        keys(locked, "w1")
    locked.wait_until(
        lambda: nodes(locked)["w1"]["ManagerStatus"] == "Reachable", what="w1 is a manager"
    )
    locked.restart_daemon("w1")
    assert unlock(locked, "w1", key).returncode == 0
    wait_whole(locked, "w1")
    ok(locked, "node", "demote", "w1")
    locked.wait_until(lambda: not keys(locked, "w1").ring.keys, what="w1 is open")
    locked.wait_until(lambda: not nodes(locked)["w1"]["ManagerStatus"], what="w1 is a worker")
    locked.restart_daemon("w1")
    locked.wait_until(lambda: info(locked, "w1")["state"] == "active", what="w1 is back")
    wait_whole(locked)


def test_the_unlock_key_is_in_no_file(locked: LabDriver) -> None:
    key = current_key(locked)
    forms = (key.removeprefix("SWMKEY-1-").encode(), parse_unlock_key(key), b"PRIVATE KEY")
    for host in MANAGERS:
        top = state(locked, host).parent
        files = [top / "log" / "daemon.log", *(top / "pyswarm").rglob("*")]
        for path in (path for path in files if path.is_file()):
            assert not any(form in path.read_bytes() for form in forms), path


def test_a_locked_manager_can_leave_and_a_new_one_is_sealed_from_the_start(
    locked: LabDriver,
) -> None:
    locked.restart_daemon("m3")
    assert containers(locked, "m3")
    ok(locked, "swarm", "leave", "--force", host="m3")
    assert info(locked, "m3")["state"] == "inactive"
    assert not containers(locked, "m3"), "it took its containers with it"

    said = ok(locked, "swarm", "init", "--autolock", host="m3")
    own = current_key(locked, "m3")
    assert f"provide the following key:\n\n    {own}\n" in said
    assert keys(locked, "m3", own).ring.keys
    locked.restart_daemon("m3")
    assert unlock(locked, "m3", own).returncode == 0
    locked.wait_until(lambda: leader(locked, "m3") == "m3", what="m3 leads its own swarm")
    ok(locked, "swarm", "leave", "--force", host="m3")

    token = ok(locked, "swarm", "join-token", "-q", "manager").strip()
    ok(locked, "swarm", "join", "--token", token, f"{locked.address('m1')}:2377", host="m3")
    key = current_key(locked)
    joined = keys(locked, "m3", key)
    assert (joined.ring.current, joined.ring.rotating) == (1, False)
    locked.restart_daemon("m3")
    refused(locked, "m3", own)
    assert unlock(locked, "m3", key).returncode == 0
    locked.wait_until(lambda: "Leader" in ok(locked, "node", "ls", host="m3"), what="m3 is back")


def test_turned_off_a_manager_restarts_by_itself(locked: LabDriver) -> None:
    ok(locked, "swarm", "update", "--autolock=false")
    refusal = fails(locked, "swarm", "unlock-key", "--rotate")
    assert refusal == "Error: cannot rotate because autolock is not turned on"
    for host in MANAGERS:
        locked.wait_until(lambda name=host: keys(locked, name), what=f"{host} is open")
    locked.restart_daemon("m2")
    # By its words, since the m3 that left without a goodbye is still listed under that name.
    locked.wait_until(lambda: "Leader" in ok(locked, "node", "ls", host="m2"), what="m2 is back")
