"""The log and the snapshot under a new data key: nothing is lost, at whatever step it ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from certs.seal import RANDOM_BYTES, RingCryptor
from manager.raft import disk as disk_module
from manager.raft.core import Saved, Write
from manager.raft.disk import DiskFull, RaftDisk
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from manager.raft.settings import RaftSettings
from pyswarm.errors import DataLoss
from pyswarm.testing.power_cut import PowerCut, Wreck

pytestmark = pytest.mark.slow

MEMBERS = Membership.of([Member(1, "n1", "a:1")])
SETTINGS = RaftSettings(segment_bytes=2000, append_bytes=400, entries_for_slow_followers=3)
OLD, NEW = {1: bytes([1]) * 32}, {2: bytes([2]) * 32}
BOTH = {**OLD, **NEW}
SNAPSHOT = SnapshotMeta(10, 2, MEMBERS)
BASE = SNAPSHOT.index - SETTINGS.entries_for_slow_followers


def ring(keys: dict[int, bytes]) -> RingCryptor:
    return RingCryptor(keys, os.urandom(RANDOM_BYTES))


def opened(path: Path, keys: dict[int, bytes]) -> tuple[RaftDisk, Saved]:
    disk = RaftDisk(path, ring(keys), SETTINGS)
    saved, _ = disk.open(1)
    return disk, saved


def read(path: Path, keys: dict[int, bytes]) -> Saved:
    disk, saved = opened(path, keys)
    disk.close()
    return saved


def put(disk: RaftDisk, first: int, last: int, term: int = 2) -> None:
    for index in range(first, last + 1):
        entry = Entry(index, term, EntryKind.NORMAL, b"%d " % index + b"x" * 150)
        disk.write(Write(term, 1, index - 1, (entry,)))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Twenty entries in several files under the old key, with a tail that was written twice."""
    path = tmp_path / "raft"
    disk, _ = opened(path, OLD)
    disk.create(SnapshotMeta(1, 1, MEMBERS), b"empty")
    put(disk, 2, 20)
    put(disk, 18, 21, term=3)
    disk.close()
    return path


def change(path: Path) -> frozenset[int]:
    """What a manager does once the new key is safe: a snapshot, and the log again."""
    disk, _ = opened(path, BOTH)
    try:
        disk.save_snapshot(SNAPSHOT, b"state")
        return disk.reseal(BASE)
    finally:
        disk.close()


def same(saved: Saved, other: Saved) -> bool:
    """Equal but for how much of the log lies in front of the snapshot."""
    behind = [e for e in saved.entries if e.index > SNAPSHOT.index]
    state = (saved.term, saved.vote, saved.commit)
    return (state, behind) == (
        (other.term, other.vote, other.commit),
        [e for e in other.entries if e.index > SNAPSHOT.index],
    )


def test_afterwards_the_new_key_opens_everything_and_the_old_one_nothing(written: Path) -> None:
    before = read(written, OLD)
    assert change(written) == {2}
    after = read(written, NEW)
    assert same(after, before)
    assert after.snapshot == SNAPSHOT
    assert after.entries[0].index == BASE + 1, "slow followers are still served from the log"
    with pytest.raises(DataLoss):
        read(written, OLD)


def test_without_a_snapshot_the_old_key_is_still_needed(written: Path) -> None:
    disk, _ = opened(written, BOTH)
    assert disk.reseal(1) == {1, 2}
    disk.close()
    with pytest.raises(DataLoss):
        read(written, NEW)


def test_the_log_goes_on_behind_it(written: Path) -> None:
    disk, _ = opened(written, BOTH)
    disk.save_snapshot(SNAPSHOT, b"state")
    disk.reseal(BASE)
    put(disk, 22, 40, term=3)
    disk.close()
    assert [e.index for e in read(written, NEW).entries] == list(range(BASE + 1, 41))


def test_an_empty_log_needs_no_more_than_its_state(tmp_path: Path) -> None:
    disk, _ = opened(tmp_path, BOTH)
    disk.create(SnapshotMeta(1, 1, MEMBERS), b"empty")
    disk.write(Write(7, 3, 1))
    assert disk.reseal(1) == {2}
    disk.close()
    saved = read(tmp_path, NEW)
    assert (saved.term, saved.vote, saved.commit, saved.entries) == (7, 3, 1, ())


def test_a_crash_at_any_point_loses_nothing_and_the_change_is_made_again(
    written: Path, tmp_path: Path
) -> None:
    before = read(written, OLD)
    cut = PowerCut(written)
    wrecks: dict[Wreck, str] = {}
    points = set()

    def at(point: str) -> None:
        points.add(point)
        for each in cut.wrecks():
            wrecks.setdefault(each, point)

    disk, _ = opened(written, BOTH)
    with cut.watching(at):
        disk.save_snapshot(SNAPSHOT, b"state")
        disk.reseal(BASE)
    disk.close()
    assert points >= {
        *("segment.refilled", "segment.named", "segment.ready"),
        *("segment.removed", "snapshot.durable", "snapshot.older-removed"),
    }
    for wreck, point in wrecks.items():
        wreck.lay_out(tmp_path / "wreck")
        assert same(read(tmp_path / "wreck", BOTH), before), point
        disk, _ = opened(tmp_path / "wreck", BOTH)
        put(disk, 22, 23, term=3)
        disk.close()
        assert change(tmp_path / "wreck") == {2}, point
        assert read(tmp_path / "wreck", NEW).entries[-1].index == 23


def test_a_full_disk_ends_it_and_the_log_goes_on_where_it_was(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, before = opened(written, BOTH)
    put(disk, 22, 22, term=3)
    disk.save_snapshot(SNAPSHOT, b"state")
    write, left = os.pwrite, 3

    def pwrite(file: int, data: bytes, offset: int) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(disk_module.os, "pwrite", pwrite)
        with pytest.raises(DiskFull):
            disk.reseal(BASE)
    put(disk, 23, 25, term=3)
    assert not list(written.glob("*.tmp"))
    assert disk.reseal(BASE) == {2}
    disk.close()
    after = read(written, NEW)
    assert [e.index for e in after.entries] == list(range(BASE + 1, 26))
    assert [e for e in after.entries if e.index <= 21] == list(before.entries[-14:])
