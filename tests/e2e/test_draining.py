"""Nobody's request is lost: thousands of them while tasks come and go."""

from __future__ import annotations

import importlib.util
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyswarm.lab import host
from pyswarm.lab.layout import REGISTRY
from pyswarm.lab.syscalls import enter_network
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.load import Load, Target
from pyswarm.testing.swarm import ok, rows, running, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=2)
HERE = Path(__file__).parent
LATE = 100
"""Requests that are still watched after everything has come to rest."""


def _build(directory: Path, output: Path) -> None:
    place = HERE.parents[1] / "deploy" / "images" / "build.py"
    spec = importlib.util.spec_from_file_location("build_image", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(directory, output)


@pytest.fixture(scope="module")
def web(lab: LabDriver, tmp_path_factory: pytest.TempPathFactory) -> LabDriver:
    """The lab with a server of three replicas and one who calls it by its name."""
    built = tmp_path_factory.mktemp("patient")
    _build(HERE / "patient", built)
    lab.lab.push(built, "patient:1")
    image = f"{REGISTRY}/patient:1"
    ok(lab, "swarm", "update", "--dispatcher-heartbeat", "5s")  # none is down for want of CPU
    ok(lab, "network", "create", "front")
    create = ("service", "create", "--detach", "--network", "front", "--name")
    server = ("-p", "8000:8000", "--replicas", "3", "--update-monitor", "0s", image)
    ok(lab, *create, "web", *server)
    program = ("/usr/bin/python3", "-u", "/srv/caller.py", "web")
    place = ("-p", "9000:9000", "--constraint", "node.hostname==m1", "--no-healthcheck")
    ok(lab, *create, "caller", *place, image, *program)
    wait_running(lab, "web", 3)
    wait_running(lab, "caller", 1)
    return lab


def called(lab: LabDriver) -> tuple[int, list[str]]:
    """What the caller inside has counted: answers and failures."""
    status, text = lab.fetch("m1", 9000)
    assert status == 200
    said = json.loads(text)
    return said["answered"], said["failures"]


@contextmanager
def under_load(lab: LabDriver, requests: int) -> Iterator[None]:
    """Requests to the published port of every host and to the virtual address; none may fail."""
    targets = [Target(name, lab.address(name), 8000) for name in lab.hosts]
    namespace = lab.lab.hub.namespace("net")
    load = Load(targets, workers=2, enter=lambda: enter_network(namespace))
    lab.wait_until(lambda: called(lab)[0], what="the caller is answered")
    before, old = called(lab)
    load.start()
    try:
        yield
        enough = load.answered + LATE
        lab.wait_until(lambda: load.answered >= enough, what="a late loss would have been seen")
    finally:
        load.stop()
    after, failures = called(lab)
    print(f"{load.answered} from outside, {after - before} from inside, by {len(load.by)} tasks")
    assert not load.failures, "\n".join(load.failures[:20])
    assert not failures[len(old) :], "\n".join(failures[len(old) :][:20])
    assert load.answered + after - before >= requests


def replaced(lab: LabDriver, *flags: str) -> None:
    """Update every task and see that it is another one."""
    before = running(lab, "web")
    ok(lab, "service", "update", "-q", *flags, "web")
    now = wait_running(lab, "web", 3)
    assert not now.keys() & before.keys()


def test_an_update_that_stops_first_loses_no_request(web: LabDriver) -> None:
    with under_load(web, 500):
        replaced(web, "--env-add", "COLOUR=blue")


def test_an_update_that_starts_first_and_its_rollback_lose_no_request(web: LabDriver) -> None:
    quick = ("--update-order", "start-first", "--update-parallelism", "2")
    with under_load(web, 500):
        replaced(web, *quick, "--env-add", "COLOUR=red")
        replaced(web, "--rollback")


def test_scaling_up_and_down_loses_no_request(web: LabDriver) -> None:
    with under_load(web, 200):
        ok(web, "service", "scale", "web=5")
        ok(web, "service", "scale", "web=3")


def test_a_host_that_is_slow_to_hear_loses_no_request(web: LabDriver) -> None:
    """Its ports lead to tasks that shall stop until it is told: they wait for it."""

    def signalled(number: signal.Signals) -> None:
        host.signal_program(web.lab.layout, "w2", "daemon", number)

    with under_load(web, 200):
        signalled(signal.SIGSTOP)
        try:
            ok(web, "service", "scale", "--detach", "web=1")
            time.sleep(1.5)  # how long the fault lasts: well below what a stop waits for
        finally:
            signalled(signal.SIGCONT)
        wait_running(web, "web", 1)
        web.wait_until(
            lambda: (
                len(rows(web, "service", "ps", "web", "--filter", "desired-state=running")) == 1
            ),
            what="the others have ended",
        )
    ok(web, "service", "scale", "web=3")


def test_a_drained_node_loses_no_request(web: LabDriver) -> None:
    with under_load(web, 100):
        ok(web, "node", "update", "--availability", "drain", "w2")
        web.wait_until(
            lambda: len(now := running(web, "web")) == 3 and "w2" not in now.values(),
            what="w2 is empty",
        )
    ok(web, "node", "update", "--availability", "active", "w2")
