"""Real processes that die by SIGKILL at each crash point of the log, and are started again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyswarm.crashpoints import POINTS

pytestmark = pytest.mark.slow

NAMES = [
    n for n in POINTS if n.startswith(("recovery", "cluster", "wal", "segment", "snap", "raft"))
]
NEVER_SENT = {"raft.sent"}
"""A member that is alone sends nothing."""
FIRST_THEN = {
    # These are reached by a recovery from another death only.
    "recovery.stray-removed": "snapshot.written",
    "recovery.segment-dropped": "segment.created:3",
    "recovery.reset-due": "wal.snapshot-installed",
}


class Deaths:
    """Gives orders to one program that forks a process for each."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "pyswarm.testing.raft_killed"]
        pipe = subprocess.PIPE
        self.program = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def run(self, directory: Path, armed: str = "", writes: int = 25, install: bool = False) -> Any:
        order = {"directory": str(directory), "armed": armed, "writes": writes, "install": install}
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(json.dumps(order) + "\n")
        self.program.stdin.flush()
        answer = json.loads(self.program.stdout.readline())
        assert not answer["error"], answer
        return answer


@pytest.fixture(scope="module")
def deaths() -> Iterator[Deaths]:
    found = Deaths()
    yield found
    assert found.program.stdin is not None
    found.program.stdin.close()
    assert found.program.wait(60) == 0


def is_kept(before: list[str], died: Any, after: Any) -> None:
    """Everything that was there or acknowledged, then at most the write that was under way."""
    acked = before + [str(number) for number in died["acked"]]
    assert died["found"] in (None, before)
    assert after["found"][: len(acked)] == acked
    assert len(after["found"]) <= len(acked) + 1
    assert after["found"] == [str(number) for number in range(len(after["found"]))]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEVER_SENT])
def test_a_process_that_dies_there_is_followed_by_one_with_all_that_was_acknowledged(
    deaths: Deaths, tmp_path: Path, name: str
) -> None:
    before: list[str] = []
    if first := FIRST_THEN.get(name):
        install = first == "wal.snapshot-installed"
        if install:
            before = [str(number) for number in deaths.run(tmp_path, writes=3)["acked"]]
        died = deaths.run(tmp_path, first, install=install)
        assert died["killed"], first
        before += [str(number) for number in died["acked"]]
    if name.startswith("recovery") and not first:
        before = [str(number) for number in deaths.run(tmp_path)["acked"]]
    died = deaths.run(tmp_path, name, install=name == "wal.snapshot-installed")
    assert died["killed"], f"{name} was not reached"
    again = deaths.run(tmp_path, writes=1)
    if first and died["found"] is None:
        assert again["found"][: len(before)] == before
        before = again["found"]  # with the write that was under way, or without it
    is_kept(before, died, again)
    last = deaths.run(tmp_path, writes=0)
    is_kept(again["found"], again, last)


@pytest.mark.parametrize("name", ["wal.written", "wal.synced", "raft.write-done", "raft.applied"])
def test_a_process_that_dies_again_and_again_loses_nothing(
    deaths: Deaths, tmp_path: Path, name: str
) -> None:
    known: list[str] = []
    for count in (9, 3, 7, 4, 5, 12):
        died = deaths.run(tmp_path, f"{name}:{count}")
        assert died["killed"]
        if died["found"] is not None:
            assert died["found"][: len(known)] == known
            known = died["found"]
        known = known + [str(number) for number in died["acked"]]
    assert deaths.run(tmp_path, writes=0)["found"][: len(known)] == known
