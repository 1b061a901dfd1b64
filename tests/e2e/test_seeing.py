"""Seeing and reaching: logs of several nodes, events, programs in tasks, what tasks use."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pytest

from pyswarm.cli.main import main
from pyswarm.lab import host
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import fails, leader, ok, push_site, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=2, workers=1)

TALK = "trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.2 & wait $!; done"
LINE = re.compile(r"(\S+Z) talker\.([12])\.\w{12}@(m2|w1) +\| line (\d+)")


@pytest.fixture(scope="module")
def talker(lab: LabDriver) -> LabDriver:
    """The lab with a service that talks, a task of it on m2 and one on w1."""
    image = push_site(lab)
    where = ("--constraint", "node.hostname != m1", "--replicas-max-per-node", "1")
    service = ("--name", "talker", "--label", "tier=front", "--replicas", "2", *where)
    ok(lab, "service", "create", "-q", *service, image, "sh", "-c", TALK)
    assert set(wait_running(lab, "talker", 2).values()) == {"m2", "w1"}
    return lab


def pyswarm(lab: LabDriver, *arguments: str, name: str = "m1") -> list[str]:
    """The words and the environment of a `pyswarm` command that runs outside the lab."""
    return [sys.executable, "-m", "pyswarm.cli.main", "-H", lab.socket(name), *arguments]


def run(
    lab: LabDriver, *arguments: str, name: str = "m1", given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    words = pyswarm(lab, *arguments, name=name)
    return subprocess.run(words, input=given, capture_output=True, timeout=60, check=False)


def said(lab: LabDriver, *arguments: str, name: str = "m1") -> str:
    """What a `pyswarm` command that must succeed prints, run in this process to save its start."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(["-H", lab.socket(name), *arguments])
    assert code == 0, (arguments, code, out.getvalue())
    return out.getvalue()


def slot_on(lab: LabDriver, node: str) -> str:
    """`talker.N`: the task on that node."""
    text = said(lab, "service", "ps", "talker", "--format", "json")
    found = [json.loads(line) for line in text.splitlines()]
    return next(
        row["Name"].strip(" \\_")
        for row in found
        if row["Node"] == node and row["CurrentState"].startswith("Running")
    )


@contextmanager
def frozen(lab: LabDriver, name: str) -> Iterator[None]:
    """A host whose daemon stands still, as if its machine did; it is back afterwards."""
    host.signal_program(lab.lab.layout, name, "daemon", signal.SIGSTOP)
    try:
        yield
    finally:
        host.signal_program(lab.lab.layout, name, "daemon", signal.SIGCONT)
        lab.wait_until(lambda: "Down" not in said(lab, "node", "ls"), what=f"{name} is back")
        wait_running(lab, "talker", 2)


# ---- programs ----


def test_a_program_runs_in_a_task_of_any_node_through_any_manager(talker: LabDriver) -> None:
    data = os.urandom(2_000_000)
    for name, task in (("m1", "talker.1"), ("m2", "talker.1"), ("m2", "talker.2")):
        words = ("sh", "-c", "cat; echo error >&2; exit 7")
        done = run(talker, "exec", "-i", task, *words, name=name, given=data)
        assert (done.returncode, done.stdout == data, done.stderr) == (7, True, b"error\n")


def test_a_program_is_run_as_it_is_asked_for(talker: LabDriver) -> None:
    wanted = ("-u", "nobody", "-w", "/tmp", "-e", "MODE=test")
    done = run(talker, "exec", *wanted, "talker.1", "sh", "-c", "id -u; pwd; echo $MODE")
    assert done.stdout == b"65534\n/tmp\ntest\n"
    for code, words in (
        (127, ("talker.1", "nope")),
        (126, ("talker.1", "/etc/passwd")),
        (1, ("talker.9", "ls")),
        (1, ("talker.1",)),
        (1, ("-t", "-i", "talker.1", "sh")),
    ):
        fails(talker, "exec", *words, code=code)
    ok(talker, "exec", "-d", "talker.1", "sh", "-c", "sleep 1; echo done >/tmp/detached")
    talker.wait_until(
        lambda: ok(talker, "exec", "talker.1", "cat", "/tmp/detached") == "done\n",
        what="what was detached has run to its end",
    )


def test_a_program_ends_with_its_caller(talker: LabDriver) -> None:
    def sleeps(seconds: str) -> bool:
        return f"sleep {seconds}" in ok(talker, "exec", "talker.1", "ps")

    for seconds, number in (("4711", signal.SIGKILL), ("4712", signal.SIGINT)):
        # It reads none of the input, which must not keep it from hearing what its caller does.
        words = pyswarm(talker, "exec", "-i", "talker.1", "sleep", seconds)
        with open("/dev/zero", "rb") as zero:
            caller = subprocess.Popen(words, stdin=zero)
        talker.wait_until(lambda s=seconds: sleeps(s), what="the program runs")
        caller.send_signal(number)
        code = caller.wait(20)
        assert code == (-number if number == signal.SIGKILL else 128 + number)
        talker.wait_until(lambda s=seconds: not sleeps(s), what="the program has ended")


class Terminal:
    """A terminal of so many rows with a `pyswarm` command on it."""

    def __init__(self, words: list[str], rows: int) -> None:
        self.master, slave = pty.openpty()
        self.size(rows)
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def size(self, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 90, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]


def test_a_terminal_is_one(talker: LabDriver) -> None:
    terminal = Terminal(pyswarm(talker, "exec", "-it", "talker.1", "sh"), rows=33)
    terminal.wait_for("#")
    terminal.type("tty; stty size\n")
    terminal.wait_for("/dev/pts/")
    terminal.wait_for("33 90")
    terminal.size(44)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.type("while ! stty size | grep 44; do sleep 0.1; done; echo resi'zed'\n")
    terminal.wait_for("44 90")
    terminal.wait_for("resized")
    terminal.type("echo beg'un'; sleep 5000\n")
    terminal.wait_for("begun")
    terminal.type("\x03")
    terminal.wait_for("#")
    terminal.type("exit 5\n")
    assert terminal.process.wait(20) == 5
    os.close(terminal.master)


# ---- logs ----


def test_lines_of_two_nodes_come_in_the_order_of_time(talker: LabDriver) -> None:
    def shown(*options: str) -> list[tuple[str, ...]]:
        text = said(talker, "service", "logs", "-t", *options, "talker", name="m2")
        found = [LINE.fullmatch(line) for line in text.splitlines()]
        assert all(found), text
        return [each.groups() for each in found if each]

    talker.wait_until(lambda: len(shown()) > 20, what="both have talked")
    lines = shown()
    assert {node for _, _, node, _ in lines} == {"m2", "w1"}
    assert [time for time, *_ in lines] == sorted(time for time, *_ in lines)
    assert len(shown("-n", "3")) == 6, "the tail is that of each task"
    begin, end = lines[5][0], lines[15][0]
    assert shown("--since", begin, "--until", end) == lines[5:16]
    assert {node for _, _, node, _ in shown("-n", "1", "--filter", "node=w1")} == {"w1"}
    assert shown("--until", end, "--grep", "line [12]$") == [
        each for each in lines[:16] if each[3] in ("1", "2")
    ]
    raw = said(talker, "service", "logs", "--raw", "-n", "1", slot_on(talker, "w1"))
    assert re.fullmatch(r"line \d+\n", raw)
    followed = shown("-f", "-n", "1", "--until", str(time.time() + 2))
    assert len(followed) > 6, "it followed to the end that it was given"
    assert [time for time, *_ in followed] == sorted(time for time, *_ in followed)
    fails(talker, "service", "logs", "--since", "yesterday", "talker")


def test_a_node_that_stands_still_is_named_and_nobody_waits_for_it(talker: LabDriver) -> None:
    task = slot_on(talker, "w1")
    with frozen(talker, "w1"):
        for command in (
            ("service", "logs", "-n", "2", "talker"),
            ("exec", task, "true"),
        ):
            begun = time.monotonic()
            done = talker.pyswarm(*command)
            assert time.monotonic() - begun < 20, command
            assert done.returncode == 1, done
            [warning] = [line for line in done.stderr.splitlines() if "w1" in line]
            assert warning.startswith(("Warning: node w1 ", "Error: node w1 ")), warning


# ---- events ----


def test_events_say_what_happened(talker: LabDriver) -> None:
    image = push_site(talker)
    begun = str(time.time() - 1)
    follower = next(name for name in ("m1", "m2") if name != leader(talker))
    follow = subprocess.Popen(
        pyswarm(talker, "events", "--since", begun, "--filter", "service=brief", name=follower),
        stdout=subprocess.PIPE,
        text=True,
    )
    said(talker, "service", "create", "-q", "--name", "brief", image)
    said(talker, "service", "scale", "-d", "brief=2")
    ok(talker, "exec", "brief.1", "true")
    said(talker, "node", "update", "--availability", "pause", "w1")
    said(talker, "node", "update", "--availability", "active", "w1")
    said(talker, "service", "rm", "--wait", "brief")

    def events(*filters: str) -> list[dict[str, object]]:
        wanted = [part for each in filters for part in ("--filter", each)]
        text = said(
            talker, "events", "--since", begun, "--until", "0s", "--format", "json", *wanted
        )
        return [json.loads(line) for line in text.splitlines()]

    brief = events("type=service", "service=brief")
    assert [each["Action"] for each in brief] == ["create", "update", "remove"]
    attributes = brief[1]["Actor"]["Attributes"]  # type: ignore[index]
    assert attributes == {"name": "brief", "replicas.old": "1", "replicas.new": "2"}
    states = {each["Action"] for each in events("type=task", "service=brief")}
    assert {"create", "assigned", "running", "exec_start", "exec_die"} <= states
    assert states & {"shutdown", "complete"}
    changed = [e["Actor"]["Attributes"] for e in events("type=node", "node=w1")]  # type: ignore[index]
    assert [each["availability.new"] for each in changed if "availability.new" in each] == [
        "pause",
        "active",
    ]
    assert events("type=service", "label=tier") == []
    assert follow.stdout is not None
    lines = [follow.stdout.readline() for _ in range(3)]
    follow.terminate()
    follow.wait(10)
    follow.stdout.close()
    assert re.match(r"\S+T\S+ service create \w{25} \(name=brief\)\n", lines[0])
    fails(talker, "events", "--until", "0s", "--since", "1s", "--filter", "colour=red")


# ---- what tasks use ----


def test_what_tasks_use_is_told_for_a_service_and_for_a_node(talker: LabDriver) -> None:
    ok(talker, "exec", "talker.1", "sh", "-c", "head -c 30000000 /dev/zero >/tmp/held")
    busy = pyswarm(talker, "exec", "talker.1", "sh", "-c", "while :; do :; done")
    spinning = subprocess.Popen(busy)

    def used(*words: str) -> dict[str, dict[str, str]]:
        text = said(talker, *words, "--no-stream", "--format", "json", name="m2")
        return {row["Name"]: row for row in map(json.loads, text.splitlines())}

    try:
        talker.wait_until(
            lambda: float(used("service", "top", "talker")["talker.1"]["CPUPerc"].strip("%")) > 20,
            what="the busy task is seen",
        )
    finally:
        spinning.terminate()
        spinning.wait(20)
    of_service = used("service", "top", "talker")
    assert set(of_service) == {"talker.1", "talker.2"}
    row = of_service["talker.1"]
    assert re.fullmatch(r"[\d.]+[KM]iB / [\d.]+GiB", row["MemUsage"]), row
    assert int(row["PIDs"]) >= 1
    assert set(used("node", "top", "w1")) == {slot_on(talker, "w1")}
    table = said(talker, "stats", "--no-stream").splitlines()
    assert table[0].split()[:3] == ["ID", "NAME", "NODE"]
    assert len(table) == 3
