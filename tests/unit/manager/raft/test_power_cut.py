"""The log at every crash point, left by a killed process and by each kind of power cut.

A history is played once. At every point that it reaches, the directory is taken as a crash would
leave it, and opened again; that recovery may crash in the same ways, and so may the first write
after it. Whatever was acknowledged must be there each time, and nothing that was never written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from manager.raft import disk as disk_module
from manager.raft.core import Saved, Write
from manager.raft.disk import RaftDisk
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, InstallSnapshot, SnapshotMeta
from manager.raft.settings import RaftSettings
from pyswarm.crashpoints import POINTS
from pyswarm.errors import DataLoss
from pyswarm.testing.power_cut import PowerCut, Wreck
from pyswarm.testing.raft_cluster import TestCryptor

pytestmark = pytest.mark.slow

MEMBERS = Membership.of([Member(1, "n1", "a:1"), Member(2, "n2", "b:2")])
SETTINGS = RaftSettings(segment_bytes=500, entries_for_slow_followers=2)
NOTHING = SnapshotMeta()


def entries(first: int, last: int, term: int, size: int = 30) -> tuple[Entry, ...]:
    return tuple(
        Entry(index, term, EntryKind.NORMAL, b"%d/%d" % (index, term) + b"x" * size)
        for index in range(first, last + 1)
    )


@dataclass(frozen=True)
class State:
    """What a member knows of itself after it was opened."""

    term: int = 0
    vote: int = 0
    commit: int = 0
    snapshot: SnapshotMeta = NOTHING
    data: bytes = b""
    entries: tuple[Entry, ...] = ()

    @staticmethod
    def of(saved: Saved, data: bytes) -> State:
        behind = tuple(e for e in saved.entries if e.index > saved.snapshot.index)
        return State(saved.term, saved.vote, saved.commit, saved.snapshot, data, behind)

    def after(self, write: Write) -> State:
        snapshot, data, old = self.snapshot, self.data, self.entries
        if write.snapshot is not None:
            snapshot, data, old = write.snapshot.snapshot, write.snapshot.data, ()
        first = write.entries[0].index if write.entries else 1 << 60
        kept = tuple(e for e in old if e.index < first)
        return State(write.term, write.vote, write.commit, snapshot, data, kept + write.entries)

    def under(self, snapshot: SnapshotMeta, data: bytes) -> State:
        """With a snapshot's file; the log behind it counts where it goes on from there."""
        fits = any((e.index, e.term) == (snapshot.index, snapshot.term) for e in self.entries)
        behind = tuple(e for e in self.entries if e.index > snapshot.index and fits)
        newer = snapshot.term > self.term
        term, vote = (snapshot.term, 0) if newer else (self.term, self.vote)
        return State(term, vote, self.commit, snapshot, data, behind)


class Crashes:
    """Collects what crashes leave; `allowed` are the states of which one must be found."""

    def __init__(self, directory: Path, wreck: Wreck | None = None) -> None:
        self._cut = PowerCut(directory, wreck)
        self.allowed: tuple[State, ...] = (State(),)
        self.last = False  # what it leaves is not looked at any more
        self.points: set[str] = set()
        self.found: dict[tuple[Wreck, tuple[State, ...]], str] = {}

    def at(self, point: str) -> None:
        self.points.add(point)
        if self.last:
            return
        for number, wreck in enumerate(self._cut.wrecks()):
            how = "power cut" if number else "kill"
            self.found.setdefault((wreck, self.allowed), f"{how} at {point}")

    def during(self, story: Callable[[Crashes], None]) -> Crashes:
        with self._cut.watching(self.at):
            story(self)
            self.at("the end")
        return self


def opened(directory: Path) -> tuple[RaftDisk, State]:
    disk = RaftDisk(directory, TestCryptor(), SETTINGS)
    saved, data = disk.open(1)
    return disk, State.of(saved, data)


class History:
    """Plays steps on a disk and says which states a crash may leave meanwhile."""

    def __init__(self, directory: Path, crashes: Crashes) -> None:
        self._directory, self._crashes = directory, crashes
        self.disk, self.state = opened(directory)

    def _step(self, *states: State) -> None:
        self._crashes.allowed = (self.state, *states)
        self.state = states[-1]

    def _done(self) -> None:
        self._crashes.allowed = (self.state,)
        self._crashes.at("acknowledged")

    def create(self) -> None:
        meta = SnapshotMeta(1, 1, MEMBERS)
        begun = State().under(meta, b"empty")
        self._step(begun, State(1, 0, 1, meta, b"empty"))
        self.disk.create(meta, b"empty")
        self._done()

    def write(self, write: Write) -> None:
        states = [self.state.after(write)]
        if write.snapshot is not None:
            states.insert(0, self.state.under(write.snapshot.snapshot, write.snapshot.data))
        self._step(*states)
        self.disk.write(write)
        self._done()

    def compact(self, index: int) -> None:
        term = next(e.term for e in self.state.entries if e.index == index)
        meta = SnapshotMeta(index, term, MEMBERS)
        self._step(self.state.under(meta, b"at %d" % index))
        self.disk.save_snapshot(meta, b"at %d" % index)
        self.disk.remove_segments(index - SETTINGS.entries_for_slow_followers)
        self._done()

    def reseal(self) -> None:
        self._step(self.state)
        self.disk.reseal(self.state.snapshot.index - SETTINGS.entries_for_slow_followers)
        self._done()

    def reopen(self) -> None:
        self.disk.close()
        self.disk, state = opened(self._directory)
        assert state == self.state


def install(index: int, term: int, size: int = 10) -> InstallSnapshot:
    meta = SnapshotMeta(index, term, MEMBERS)
    return InstallSnapshot(sender=2, to=1, term=term, snapshot=meta, data=b"L" * size)


def a_life(directory: Path, crashes: Crashes) -> None:
    history = History(directory, crashes)
    history.create()
    for index in range(2, 12):
        history.write(Write(2, 1, index - 1, entries(index, index, 2)))
    history.write(Write(3, 0, 8, entries(10, 13, 3)))  # a new leader's entries replace the tail
    history.compact(8)
    history.write(Write(3, 0, 13))
    history.reopen()
    history.compact(12)
    history.write(Write(4, 2, 13, entries(14, 19, 4)))
    history.reseal()
    history.write(Write(5, 0, 30, entries(31, 33, 5), install(30, 5)))
    history.write(Write(5, 0, 33, entries(34, 34, 5)))
    history.compact(33)
    history.reopen()
    history.write(Write(6, 1, 34, entries(35, 36, 6)))
    history.disk.close()


def a_second_life(directory: Path, crashes: Crashes) -> None:
    """After a crash: open, and go on where it stopped."""
    disk, state = opened(directory)
    assert state in crashes.allowed, state
    crashes.allowed = (state,)
    crashes.at("opened")
    last = state.entries[-1].index if state.entries else state.snapshot.index
    if last:
        write = Write(state.term + 1, 2, state.commit, entries(last + 1, last + 1, state.term + 1))
        crashes.allowed = (state, state.after(write))
        disk.write(write)
        crashes.allowed = (state.after(write),)
        crashes.at("acknowledged")
    disk.close()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files grow by little, so that there is little to copy."""
    monkeypatch.setattr(disk_module, "GROWTH_BYTES", 64)


def check(
    directory: Path, wreck: Wreck, allowed: tuple[State, ...], where: str, *, last: bool
) -> Crashes:
    wreck.lay_out(directory)
    crashes = Crashes(directory, wreck)
    crashes.allowed, crashes.last = allowed, last
    try:
        return crashes.during(lambda crashes: a_second_life(directory, crashes))
    except Exception as error:
        names = sorted((name, len(content)) for name, content in wreck.files)
        error.add_note(f"after: {where}; there were {names}")
        raise


def crash_everywhere(tmp_path: Path) -> set[str]:
    """The points that were reached."""
    first = tmp_path / "first"
    life = Crashes(first).during(lambda crashes: a_life(first, crashes))
    reached, seen = set(life.points), set()
    for (wreck, allowed), where in life.found.items():
        second = check(tmp_path / "second", wreck, allowed, where, last=False)
        reached |= second.points
        for key, again in second.found.items():
            if key not in seen:
                seen.add(key)
                check(tmp_path / "third", *key, f"{where}, then: {again}", last=True)
    assert len(life.found) > 150
    assert len(seen) > 500
    return reached


@pytest.mark.usefixtures("small_steps")
def test_every_crash_of_a_life_and_of_each_recovery_keeps_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    reached = crash_everywhere(tmp_path)
    ours = ("wal.", "segment.", "snapshot.", "recovery.", "cluster.")
    assert {name for name in POINTS if name.startswith(ours)} <= reached


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("forgotten", ["names", "records", "files"])
def test_a_sync_that_is_left_out_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    if forgotten == "names":
        monkeypatch.setattr(disk_module, "_sync_directory", lambda path: None)
    else:

        class Forgetful:
            """The functions of os, without one."""

            def __getattr__(self, name: str) -> object:
                left_out = "fdatasync" if forgotten == "records" else "fsync"
                return (lambda handle: None) if name == left_out else getattr(os, name)

        monkeypatch.setattr(disk_module, "os", Forgetful())
    with pytest.raises((AssertionError, DataLoss)):
        crash_everywhere(tmp_path)
