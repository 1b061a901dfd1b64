"""Rewriting a manager's disk: whatever moment a crash comes at, it has the old state or the new."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from manager.raft.core import Saved, Write
from manager.raft.disk import DiskFull, RaftDisk
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from manager.raft.settings import RaftSettings
from manager.recovery import disk
from pyswarm.testing.raft_cluster import TestCryptor

ALL = Membership.of([Member(1, "n1", "a:1"), Member(2, "n2", "b:2"), Member(3, "n3", "c:3")])
ONE = Membership(members=(Member(1, "n1", "a:1"),), removed=frozenset({2, 3}))
NEW = SnapshotMeta(31, 6, ONE)
CALLS = ("pwrite", "fsync", "fdatasync", "rename", "ftruncate")


def read(path: Path) -> tuple[Saved, bytes]:
    opened = RaftDisk(path, TestCryptor(bytes(32)), RaftSettings())
    try:
        return opened.open(1)
    finally:
        opened.close()


@pytest.fixture
def raft(tmp_path: Path) -> Path:
    """The disk of one of three managers: a snapshot, committed entries, and some that are not."""
    path = tmp_path / "raft"
    before = RaftDisk(path, TestCryptor(bytes(32)), RaftSettings())
    before.open(1)
    before.create(SnapshotMeta(1, 1, ALL), b"old")
    for index in range(2, 31):
        entry = Entry(index, 5, EntryKind.NORMAL, b"%d" % index)
        before.write(Write(5, 2, min(index, 20), (entry,)))
    before.close()
    return path


def rewrite(path: Path) -> SnapshotMeta:
    def change(saved: Saved, data: bytes) -> tuple[SnapshotMeta, bytes]:
        assert (saved.entries[-1].index, saved.commit, data) == (30, 20, b"old")
        return NEW, b"new"

    return disk.rewrite(path, TestCryptor(bytes(32)), 1, change)


def is_new(path: Path) -> bool:
    """Whether it is the new state, and nothing of the old; else it is all of the old."""
    saved, data = read(path)
    if saved.snapshot == NEW:
        assert (data, saved.entries, saved.term, saved.vote) == (b"new", (), 6, 0)
        return True
    assert (data, saved.snapshot.membership) == (b"old", ALL)
    assert (saved.entries[-1].index, saved.term, saved.vote) == (30, 5, 2)
    return False


def test_the_state_is_replaced(raft: Path) -> None:
    assert not is_new(raft)
    assert rewrite(raft) == NEW
    assert is_new(raft)
    assert is_new(raft)


def test_a_crash_at_any_step_leaves_the_old_state_or_the_new(
    raft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[Path] = []

    def crashing(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object) -> object:
            copies.append(tmp_path / f"crash-{len(copies)}")
            shutil.copytree(raft, copies[-1])
            return real(*args)

        monkeypatch.setattr(os, name, call)

    for name in CALLS:
        crashing(name)
    rewrite(raft)
    monkeypatch.undo()
    found = [is_new(copy) for copy in copies]
    assert found == sorted(found), "once it is new it stays new"
    assert {False, True} == set(found), "steps on both sides of the one that counts were seen"


def test_a_full_disk_changes_nothing(raft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(DiskFull):
        rewrite(raft)
    monkeypatch.undo()
    assert not is_new(raft)


def test_a_new_swarm_is_written_into_an_empty_directory(tmp_path: Path) -> None:
    path = tmp_path / "raft"
    disk.create(path, TestCryptor(bytes(32)), 1, NEW, b"new")
    assert is_new(path)


def test_the_files_are_told(raft: Path) -> None:
    seen = disk.figures(raft)
    assert seen.log_segments == 1
    assert seen.log_bytes == sum(p.stat().st_size for p in raft.glob("*.wal"))
    assert seen.snapshot_bytes == sum(p.stat().st_size for p in raft.glob("*.snap"))
    assert seen.snapshot_at > 0
    assert disk.figures(raft / "nothing") == disk.DiskFigures()
