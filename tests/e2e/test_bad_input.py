"""Bad input and missing things get one clear sentence, the right exit code, and lose nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import fails, nodes, ok, push_site, rows, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=1)


@pytest.fixture(scope="module")
def stranger(lab: LabDriver) -> Iterator[str]:
    """A host that is in no swarm."""
    ok(lab, "swarm", "leave", host="w1")
    yield "w1"
    token = ok(lab, "swarm", "join-token", "-q", "worker").strip()
    ok(lab, "swarm", "join", "--token", token, f"{lab.address('m1')}:2377", host="w1")


def spoilt(token: str, part: int) -> str:
    """The token with another digest (part 2) or another secret (part 3)."""
    parts = token.split("-")
    first = "0" if parts[part][5] != "0" else "1"
    parts[part] = parts[part][:5] + first + parts[part][6:]
    return "-".join(parts)


def test_a_wrong_token_is_refused(lab: LabDriver, stranger: str) -> None:
    token = spoilt(ok(lab, "swarm", "join-token", "-q", "worker").strip(), 3)
    manager = f"{lab.address('m1')}:2377"
    said = fails(lab, "swarm", "join", "--token", token, manager, host=stranger)
    assert "token is wrong or was rotated" in said
    assert "inactive" in ok(lab, "info", host=stranger)


def test_a_swarm_with_another_root_is_not_trusted(lab: LabDriver, stranger: str) -> None:
    token = spoilt(ok(lab, "swarm", "join-token", "-q", "worker").strip(), 2)
    manager = f"{lab.address('m1')}:2377"
    said = fails(lab, "swarm", "join", "--token", token, manager, host=stranger)
    assert "belongs to another swarm than the join token" in said
    assert "inactive" in ok(lab, "info", host=stranger)


def test_what_is_no_token_is_called_so(lab: LabDriver, stranger: str) -> None:
    said = fails(lab, "swarm", "join", "--token", "secret", "192.0.2.1:2377", host=stranger)
    assert "token" in said


def test_a_node_in_a_swarm_joins_no_other(lab: LabDriver) -> None:
    token = ok(lab, "swarm", "join-token", "-q", "manager").strip()
    said = fails(lab, "swarm", "join", "--token", token, f"{lab.address('m1')}:2377")
    assert "already part of a swarm" in said
    said = fails(lab, "swarm", "init")
    assert "already part of a swarm" in said
    assert nodes(lab)["m1"]["Status"] == "Ready"


def test_a_worker_or_stranger_says_where_to_ask(lab: LabDriver, stranger: str) -> None:
    assert "not a swarm manager" in fails(lab, "node", "ls", host=stranger)


def test_an_unknown_key_is_named_with_file_path_and_line(lab: LabDriver, tmp_path: Path) -> None:
    compose = tmp_path / "compose.yml"
    compose.write_text("services:\n  web:\n    image: nginx\n    replicaz: 3\n")
    said = fails(lab, "stack", "deploy", "-c", str(compose), "bad")
    assert f"{compose}:4: services.web.replicaz: unknown key" in said
    compose.write_text("services:\n  web:\n    image: nginx\n    deploy:\n      replicas: many\n")
    said = fails(lab, "stack", "deploy", "-c", str(compose), "bad")
    assert f"{compose}:5: services.web.deploy.replicas" in said
    assert rows(lab, "service", "ls") == []


def test_an_image_that_does_not_exist_is_named_in_service_ps(lab: LabDriver) -> None:
    ok(lab, "service", "create", "-d", "--name", "ghost", "registry:5000/ghost:1")

    def named() -> bool:
        shown = rows(lab, "service", "ps", "--no-trunc", "ghost")
        return any("registry:5000/ghost:1 does not exist" in row["Error"] for row in shown)

    try:
        lab.wait_until(named, what="service ps names the image that does not exist")
    finally:
        ok(lab, "service", "rm", "--wait", "ghost")


def test_a_port_that_a_service_has_is_refused_to_another(lab: LabDriver) -> None:
    image = push_site(lab)
    ok(lab, "service", "create", "-d", "--name", "first", "-p", "8080:80", image)
    try:
        said = fails(lab, "service", "create", "-d", "--name", "second", "-p", "8080:80", image)
        assert "port '8080' is already in use by service 'first'" in said
        wait_running(lab, "first", 1)
    finally:
        ok(lab, "service", "rm", "--wait", "first")


def test_a_second_daemon_on_the_same_state_is_refused(lab: LabDriver) -> None:
    state = json.loads(ok(lab, "info", "--format", "json"))["state_directory"]
    said = fails(lab, "daemon", "--state-dir", state, "--run-dir", "/run/second")
    assert f"another pyswarm daemon uses the state directory {state}" in said
    assert nodes(lab)["m1"]["Status"] == "Ready"


def test_a_daemon_without_containerd_names_the_socket(lab: LabDriver) -> None:
    command = ("timeout", "5", "pyswarm", "daemon", "--state-dir", "/run/other/state")
    more = ("--run-dir", "/run/other/run", "--containerd-socket", "/run/nowhere.sock")
    result = lab.exec("m1", *command, *more)
    assert "containerd does not answer at /run/nowhere.sock: start it" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_daemon_without_root_is_refused(lab: LabDriver) -> None:
    # It may read the checkout, which may lie where only root looks.
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", *may_read)
    result = lab.exec("m1", *nobody, "pyswarm", "daemon")
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "Error: the daemon needs root, for network namespaces and containers: use sudo"
    )


@pytest.fixture
def small_disk(lab: LabDriver) -> Iterator[str]:
    """The directory of the manager's log, on a file system of its own with little room."""
    path = str(lab.lab.layout.state / "m1" / "pyswarm" / "manager" / "raft")

    def move(*, onto: bool) -> None:
        mount = f"mount -t tmpfs -o size=16m,mode=700 tmpfs {path}"
        steps = [f"cp -a {path} {path}.moved", mount if onto else f"umount {path}"]
        steps += [f"rm -rf {path}/*", f"cp -a {path}.moved/. {path}", f"rm -rf {path}.moved"]
        lab.hold_daemon("m1", down=True)
        try:
            lab.output("m1", "sh", "-ec", "; ".join(steps))
        finally:
            lab.hold_daemon("m1", down=False)
        lab.wait_until(lambda: nodes(lab)["m1"]["Status"] == "Ready", what="m1 is back")

    move(onto=True)
    yield path
    move(onto=False)


def test_a_full_disk_under_the_log_is_said_and_loses_nothing(
    lab: LabDriver, small_disk: str
) -> None:
    ok(lab, "config", "create", "before", "/etc/hostname")
    lab.exec("m1", "sh", "-c", f"cat /dev/zero >{small_disk}/filler")
    # More than the room that the log has taken in advance.
    lab.output("m1", "sh", "-c", "head -c 400000 /dev/zero >/tmp/large")

    def refusal() -> str:
        result = lab.pyswarm("config", "create", f"c{time.monotonic_ns()}", "/tmp/large")
        return result.stderr if result.returncode else ""

    lab.wait_until(refusal, what="a write is refused")
    said = refusal()
    assert said.count("\n") == 1
    assert f"the disk under {small_disk} is full: make room there" in said
    lab.output("m1", "rm", f"{small_disk}/filler")
    lab.wait_until(
        lambda: lab.pyswarm("config", "create", "after", "/etc/hostname").returncode == 0,
        what="there is room again and writes go on",
    )
    assert {"before", "after"} <= {row["Name"] for row in rows(lab, "config", "ls")}
