"""A swarm that is hit: what runs goes on, what is lost is made again, who was cut off returns."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pyswarm.lab import host as lab_host
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import (
    containers,
    fails,
    leader,
    nodes,
    ok,
    push_site,
    rows,
    running,
    wait_page,
    wait_running,
    wait_spread,
)

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=2)
REPLICAS = 5


def wait_status(lab: LabDriver, name: str, status: str, host: str = "m1") -> None:
    lab.wait_until(lambda: nodes(lab, host)[name]["Status"] == status, what=f"{name} is {status}")


def wait_ready(lab: LabDriver) -> None:
    """Wait until every manager sees a leader and every host Ready."""

    def ready() -> bool:
        return all(
            leader(lab, host) and all(row["Status"] == "Ready" for row in nodes(lab, host).values())
            for host in ("m1", "m2", "m3")
        )

    lab.wait_until(ready, what="every host is Ready and there is a leader")


@pytest.fixture(scope="module")
def image(lab: LabDriver) -> str:
    return push_site(lab)


@pytest.fixture
def web(lab: LabDriver, image: str) -> Iterator[LabDriver]:
    """A whole swarm with a service of five tasks, one on each host at first."""
    wait_ready(lab)
    flags = ("--replicas", str(REPLICAS), "--publish", "8080:80", "--restart-delay", "1s")
    ok(lab, "service", "create", "-q", "--name", "web", *flags, image)
    yield lab
    wait_ready(lab)
    ok(lab, "service", "rm", "--wait", "web")


def test_writes_go_on_when_the_leader_is_killed(web: LabDriver) -> None:
    old = leader(web)
    others = [name for name in ("m1", "m2", "m3") if name != old]
    before = {host: containers(web, host) for host in web.hosts}
    web.hold_daemon(old, down=True)
    try:
        write = ("config", "create", "made-without-it", "/etc/hostname")
        web.wait_until(
            lambda: web.pyswarm(*write, host=others[0]).returncode == 0, what="a write goes on"
        )
        assert leader(web, others[1]) in others
        assert wait_page(web, old), "its published port answers while its daemon is down"
    finally:
        web.hold_daemon(old, down=False)
    wait_ready(web)
    assert "made-without-it" in [row["Name"] for row in rows(web, "config", "ls", host=old)]
    ok(web, "config", "rm", "made-without-it", host=old)
    # On a slow machine the host without a daemon is missed, and its own task moves.
    web.wait_until(lambda: len(running(web, "web")) == REPLICAS, what="five tasks run")
    for host in set(web.hosts) - {old}:
        assert before[host].items() <= containers(web, host).items(), f"{host} went on"


def test_a_leader_killed_hard_comes_back_with_what_was_committed(web: LabDriver) -> None:
    for number in range(3):
        name = f"kept-{number}"
        old = leader(web)
        ok(web, "config", "create", name, "/etc/hostname", host=old)
        web.kill_daemon(old, signal.SIGKILL)
        wait_ready(web)
        for host in ("m1", "m2", "m3"):
            assert name in [row["Name"] for row in rows(web, "config", "ls", host=host)]
    ok(web, "config", "rm", "kept-0", "kept-1", "kept-2")


COUNT = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.2; done"


@contextmanager
def following(lab: LabDriver, host: str, *arguments: str) -> Iterator[list[str]]:
    """The lines that a command which follows has printed so far; it must not end by itself."""
    lines: list[str] = []
    command = [sys.executable, "-m", "pyswarm.cli.main", "-H", lab.socket(host), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,))
        reader.start()
        try:
            yield lines
            assert process.poll() is None, f"{arguments}: exit code {process.returncode}"
        finally:
            process.terminate()
            reader.join()


def test_who_follows_logs_and_events_sees_each_line_once_whoever_leads(
    lab: LabDriver, image: str
) -> None:
    wait_ready(lab)
    on_workers = ("--replicas", "2", "--constraint", "node.role==worker")
    ok(lab, "service", "create", "-q", "--name", "count", *on_workers, image, "sh", "-c", COUNT)
    wait_running(lab, "count", 2)
    first = leader(lab)
    other = next(name for name in ("m1", "m2", "m3") if name != first)
    made: list[str] = []

    def wait_more() -> None:
        """Wait until all who follow have seen some more lines."""
        wanted = [len(lines) + 5 for lines in logs]
        lab.wait_until(
            lambda: all(len(lines) > count for lines, count in zip(logs, wanted, strict=True)),
            what="the lines go on",
        )

    def note() -> None:
        """Something that happens: it is seen by all who follow before anything else does."""
        name = f"noted-{len(made)}"
        ok(lab, "config", "create", name, "/etc/hostname", host=other)
        made.append(name)
        told = f"name={name})"
        lab.wait_until(
            lambda: all(any(told in line for line in lines) for lines in notes),
            what="it is told",
        )
        wait_more()

    def change(end: Callable[[str], object]) -> None:
        """Another manager leads, and everybody is there again."""
        old = leader(lab, other)
        end(old)
        lab.wait_until(lambda: leader(lab, other) not in ("", old), what=f"{old} is followed")
        note()
        ok(lab, "node", "update", "--availability", "active", old, host=other)
        wait_ready(lab)

    with ExitStack() as stack:
        logs = [
            stack.enter_context(following(lab, name, "service", "logs", "-f", "count"))
            for name in (first, other)
        ]
        notes = [
            stack.enter_context(following(lab, name, "events", "--filter", "type=config"))
            for name in (first, other)
        ]
        wait_more()
        note()
        change(lambda old: lab.kill_daemon(old, signal.SIGKILL))
        change(lambda old: ok(lab, "node", "update", "--availability", "drain", old, host=other))
    for lines in logs:
        numbers: dict[str, list[int]] = {}
        for line in lines:
            task, _, number = line.partition("|")
            numbers.setdefault(task, []).append(int(number))
        assert len(numbers) == 2
        for task, counted in numbers.items():
            assert counted == list(range(1, len(counted) + 1)), task
    for lines in notes:
        assert [re.findall(r"config create .*name=([\w-]+)\)", line) for line in lines] == [
            [name] for name in made
        ]
    ok(lab, "config", "rm", *made)
    ok(lab, "service", "rm", "--wait", "count")


def test_tasks_of_a_worker_without_power_move_and_it_returns_empty(web: LabDriver) -> None:
    lost = set(running(web, "web"))
    web.kill("w1")
    try:
        wait_status(web, "w1", "Down")
        web.wait_until(
            lambda: (
                len(running(web, "web")) == REPLICAS and "w1" not in running(web, "web").values()
            ),
            what="five tasks run on the other hosts",
        )
        lost -= set(running(web, "web"))
        assert len(lost) == 1
        wait_spread(web, "w2", REPLICAS)
    finally:
        web.start("w1")
    wait_status(web, "w1", "Ready")
    web.wait_until(lambda: not containers(web, "w1"), what="w1 runs no old container")
    wait_spread(web, "w1", REPLICAS)


def test_a_manager_cut_off_is_refused_and_healed(web: LabDriver) -> None:
    before = containers(web, "m3")
    web.partition("m3")
    try:
        wait_status(web, "m3", "Down", host="m1")
        refused = web.pyswarm("config", "create", "alone", "/etc/hostname", host="m3")
        assert refused.returncode == 1
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
        ok(web, "config", "create", "together", "/etc/hostname", host="m1")
        assert containers(web, "m3") == before, "containers of a lone manager go on"
        on_m2 = containers(web, "m2")
        refused_leave = fails(web, "swarm", "leave", "--force", host="m2")
        assert "this would result in a loss of quorum (1 of the other 2" in refused_leave
        assert on_m2
        assert containers(web, "m2") == on_m2, "it has not begun to leave"
    finally:
        web.heal("m3")
    wait_ready(web)
    names = [row["Name"] for row in rows(web, "config", "ls", host="m3")]
    assert "together" in names
    assert "alone" not in names
    ok(web, "config", "rm", "together")
    wait_running(web, "web", REPLICAS)
    wait_spread(web, "m3", REPLICAS)


def test_daemons_restarted_in_turn_restart_no_container(web: LabDriver) -> None:
    before = {host: containers(web, host) for host in web.hosts}
    assert sum(map(len, before.values())) == REPLICAS
    question = "/cgi-bin/lookup?web"
    for host in web.hosts:
        web.restart_daemon(host)
        wait_ready(web)
        wait_page(web, host, path=question)
        wait_spread(web, host, REPLICAS)
    assert {host: containers(web, host) for host in web.hosts} == before


def test_a_drained_node_is_emptied_and_used_again(web: LabDriver) -> None:
    ok(web, "node", "update", "--availability", "drain", "w2")
    try:
        web.wait_until(lambda: not containers(web, "w2"), what="w2 is empty")
        left = wait_running(web, "web", REPLICAS)
        assert "w2" not in left.values()
        wait_spread(web, "w2", REPLICAS)
    finally:
        ok(web, "node", "update", "--availability", "active", "w2")
    ok(web, "service", "scale", "web=6")
    assert "w2" in wait_running(web, "web", 6).values()


def test_containers_outlive_a_containerd_that_is_killed(web: LabDriver) -> None:
    before = containers(web, "w1")
    assert before
    target = lab_host.signal_program(web.lab.layout, "w1", "containerd", signal.SIGKILL)
    web.wait_until(lambda: not target.alive, what="containerd has ended")
    lab_host.wait_ready(web.lab.layout, "w1")
    web.wait_until(lambda: containers(web, "w1") == before, what="its containers are known again")
    wait_spread(web, "w1", REPLICAS)
    ok(web, "service", "scale", "web=10")
    wait_running(web, "web", 10)
    assert before.items() <= containers(web, "w1").items()


def test_a_worker_that_leaves_keeps_nothing(web: LabDriver) -> None:
    assert containers(web, "w2")
    ok(web, "swarm", "leave", host="w2")
    kinds = ("container ", "netns ", "link ", "rule ", "policy ")

    def strange() -> list[str]:
        empty = ("link lo", "link eth0")
        return [
            line
            for line in sorted(web.leftovers("w2"))
            if line.startswith(kinds)
            and line not in empty
            and "pyswarm" in line
            and "hostinit" not in line
        ]

    try:
        web.wait_until(lambda: not containers(web, "w2"), what="no container is left")
        web.wait_until(lambda: not strange(), what=f"nothing of the swarm is left: {strange()}")
        wait_status(web, "w2", "Down")
        ok(web, "node", "rm", nodes(web)["w2"]["ID"])
        wait_running(web, "web", REPLICAS)
    finally:
        token = ok(web, "swarm", "join-token", "-q", "worker").strip()
        ok(web, "swarm", "join", "--token", token, f"{web.address('m1')}:2377", host="w2")
