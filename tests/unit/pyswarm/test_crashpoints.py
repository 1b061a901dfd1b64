"""A process armed from its environment dies at the point, and in no other case."""

import os
import signal
import subprocess
import sys

import pytest

from pyswarm import crashpoints

PROGRAM = """
from pyswarm.crashpoints import reach
for name in ("wal.begun", "wal.synced", "wal.synced", "recovery.done"):
    print(name, flush=True)
    reach(name)
"""


def run(armed=None):
    environment = {key: value for key, value in os.environ.items() if key != crashpoints.VARIABLE}
    if armed is not None:
        environment[crashpoints.VARIABLE] = armed
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_armed_process_is_killed_when_it_reaches_the_point():
    ended = run("wal.synced:2")
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["wal.begun", "wal.synced", "wal.synced"]
    assert ended.stderr == "killed at crash point wal.synced:2, as PYSWARM_CRASH asks\n"


def test_a_process_that_is_not_armed_lives():
    assert run().returncode == 0
    assert run("").returncode == 0


def test_a_name_that_does_not_exist_is_refused_at_once():
    ended = run("wal.sinked")
    assert ended.returncode == 1
    assert not ended.stdout
    assert "there is no crash point wal.sinked" in ended.stderr


@pytest.mark.parametrize("text", ["", "wal", "wal.synced:0", "wal.synced:x", "wal.synced:-1"])
def test_what_does_not_name_a_point_and_a_time_is_refused(text):
    with pytest.raises(ValueError, match=r"crash point|invalid literal"):
        crashpoints.death_at(text)


def test_each_point_says_in_one_line_what_is_true_there():
    assert len(crashpoints.POINTS) >= 40
    for name, meaning in crashpoints.POINTS.items():
        part, _, moment = name.partition(".")
        assert part.isidentifier()
        assert moment
        assert meaning
        assert meaning[-1] not in ".:"
