"""One manager's consensus in a process that is made to die.

`python -m pyswarm.testing.raft_killed` reads lines of JSON from its standard input and answers each
with one line. For each it forks a child, so that many deaths cost one start of Python:

    {"directory": ..., "armed": "wal.synced:3" or "", "writes": 20, "install": false}

The child proposes numbers behind those that it finds, and its answer is {"found": [...], "acked":
[...], "error": "", "killed": true}: what it found when it started, and what was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from manager.raft import disk as raft_disk
from manager.raft.core import Write
from manager.raft.disk import RaftDisk
from manager.raft.driver import RaftNode
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, InstallSnapshot, Message, SnapshotMeta
from manager.raft.seams import Receiver
from manager.raft.settings import RaftSettings
from pyswarm import crashpoints
from pyswarm.testing.raft_cluster import ListMachine, TestCryptor

ALONE = Membership.of([Member(1, "n1", "a:1")])
SETTINGS = RaftSettings(
    tick_seconds=0.02,
    segment_bytes=600,
    entries_for_slow_followers=2,
    snapshot_interval_entries=7,
)


class Nobody:
    """A transport of a member that has no peers."""

    def start(self, receiver: Receiver) -> None:
        """Nobody will call."""

    async def stop(self) -> None:
        """Nothing runs."""

    def set_members(self, membership: Membership) -> None:
        """Nobody is there."""

    def send(self, messages: Sequence[Message]) -> None:
        """Nobody hears."""

    def send_snapshot(self, message: InstallSnapshot, done: Callable[[bool], None]) -> None:
        """Nobody takes it."""


async def _live(directory: Path, writes: int, tell: Callable[[str, Any], None]) -> None:
    machine = ListMachine()
    node = RaftNode(1, directory, TestCryptor(), Nobody(), machine, SETTINGS, bootstrap=ALONE)
    await node.start()
    await node.wait_until_leader(30)
    # Its own first entry of this term is applied, and so is everything before it.
    await node.read_index(30)
    tell("found", machine.values)
    first = len(machine.values)
    for number in range(first, first + writes):
        await node.propose(str(number).encode(), 30)
        tell("acked", number)
    await node.reseal()
    await node.stop()


def _install(directory: Path) -> None:
    """A leader's snapshot with the same values replaces the log, as in a member that was far."""
    disk = RaftDisk(directory, TestCryptor(), SETTINGS)
    saved, data = disk.open(1)
    machine = ListMachine()
    if saved.snapshot.index:
        machine.restore(saved.snapshot.index, data)
    for entry in saved.entries:
        if entry.index > saved.snapshot.index and entry.kind is EntryKind.NORMAL and entry.data:
            machine.apply(entry.index, entry.data)
    index = saved.entries[-1].index if saved.entries else saved.snapshot.index
    meta = SnapshotMeta(index + 5, saved.term + 1, ALONE)
    message = InstallSnapshot(
        sender=2, to=1, term=meta.term, snapshot=meta, data=machine.capture()()
    )
    noop = Entry(index + 6, meta.term, EntryKind.NOOP, b"")
    disk.write(Write(meta.term, 0, meta.index, (noop,), message))
    disk.close()


def _child(order: dict[str, Any], pipe: int) -> None:
    raft_disk.GROWTH_BYTES = 4096

    def tell(key: str, value: Any) -> None:
        os.write(pipe, json.dumps([key, value]).encode() + b"\n")

    try:
        if order["armed"]:
            crashpoints.arm(crashpoints.death_at(order["armed"]))
        if order["install"]:
            _install(Path(order["directory"]))
        asyncio.run(_live(Path(order["directory"]), order["writes"], tell))
    except Exception as error:
        tell("error", repr(error))


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _child(order, writing)
        os._exit(0)
    os.close(writing)
    answer: dict[str, Any] = {"found": None, "acked": [], "error": ""}
    with os.fdopen(reading) as pipe:
        for line in pipe:
            key, value = json.loads(line)
            if key == "acked":
                answer["acked"].append(value)
            else:
                answer[key] = value
    _, status = os.waitpid(child, 0)
    answer["killed"] = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return answer


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
