"""The WAL on a real file system: what survives, what is refused, and in which words."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from manager.raft import disk as disk_module
from manager.raft.core import Saved, Write
from manager.raft.disk import DiskFull, RaftDisk
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, InstallSnapshot, SnapshotMeta
from manager.raft.settings import RaftSettings
from pyswarm.errors import DataLoss, FailedPrecondition
from pyswarm.testing.raft_cluster import TestCryptor
from pyswarm.testing.raft_node import SimDisk

MEMBERS = Membership.of([Member(1, "n1", "a:1"), Member(2, "n2", "b:2", learner=True)])
SETTINGS = RaftSettings(segment_bytes=2000, entries_for_slow_followers=3)


def entries(first: int, last: int, term: int, size: int = 20) -> tuple[Entry, ...]:
    return tuple(
        Entry(index, term, EntryKind.NORMAL, b"%d/%d " % (index, term) + b"x" * size)
        for index in range(first, last + 1)
    )


def opened(path: Path, raft_id: int = 1, key: bytes = bytes(32)) -> tuple[RaftDisk, Saved, bytes]:
    disk = RaftDisk(path, TestCryptor(key), SETTINGS)
    saved, data = disk.open(raft_id)
    return disk, saved, data


def reopened(path: Path) -> Saved:
    disk, saved, _ = opened(path)
    disk.close()
    return saved


def fresh(path: Path) -> RaftDisk:
    disk, saved, _ = opened(path)
    assert saved == Saved(SnapshotMeta())
    disk.create(SnapshotMeta(1, 1, MEMBERS), b"empty")
    return disk


def logged(path: Path, size: int = 1500) -> Path:
    """A directory with three records; the last one has two entries of `size` bytes."""
    disk = fresh(path)
    disk.write(Write(2, 1, 1, entries(2, 3, 2)))
    disk.write(Write(2, 1, 3, entries(4, 4, 2)))
    disk.write(Write(2, 1, 4, entries(5, 6, 2, size=size)))
    disk.close()
    return path


def last_record(path: Path) -> tuple[Path, int, int]:
    """The file with the last record, and where the record begins and ends."""
    file = max(path.glob("*.wal"))
    data = file.read_bytes()
    return file, data.rfind(b"PSW1"), len(data.rstrip(b"\0"))


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    logged(tmp_path)
    disk, saved, data = opened(tmp_path)
    assert (saved.term, saved.vote, saved.commit) == (2, 1, 4)
    assert saved.snapshot == SnapshotMeta(1, 1, MEMBERS)
    assert data == b"empty"
    assert saved.entries == (*entries(2, 4, 2), *entries(5, 6, 2, size=1500))
    disk.write(Write(3, 2, 4, entries(5, 5, 3)))  # overwrites the tail
    disk.close()
    again = reopened(tmp_path)
    assert (again.term, again.vote) == (3, 2)
    assert again.entries == (*entries(2, 4, 2), *entries(5, 5, 3))


def test_a_crash_at_any_byte_of_the_last_record_loses_only_that_record(tmp_path: Path) -> None:
    logged(tmp_path / "whole", size=20)
    _, start, end = last_record(tmp_path / "whole")
    whole, before = reopened(tmp_path / "whole"), None
    for cut in range(start, end + 1):
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        os.truncate(last_record(tmp_path / "cut")[0], cut)
        disk, saved, _ = opened(tmp_path / "cut")
        if cut == end:
            assert saved == whole
        else:
            before = before or saved
            assert saved == before
            assert saved.entries == entries(2, 4, 2)
        # And the log goes on at that place.
        last = saved.entries[-1].index
        disk.write(Write(4, 1, 4, entries(last + 1, last + 1, 4)))
        disk.close()
        assert reopened(tmp_path / "cut").entries == (
            *saved.entries,
            *entries(last + 1, last + 1, 4),
        )


def test_sectors_of_the_last_record_that_never_arrived_are_a_torn_write(tmp_path: Path) -> None:
    logged(tmp_path / "whole")
    _, start, end = last_record(tmp_path / "whole")
    sectors = range(start // 512 + 1, end // 512 + 1)
    for sector in sectors:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        with open(last_record(tmp_path / "cut")[0], "r+b") as file:
            file.seek(sector * 512)
            file.write(bytes(min(512, end - sector * 512)))
        assert reopened(tmp_path / "cut").entries == entries(2, 4, 2)


def test_a_flipped_bit_is_refused_or_does_not_matter(tmp_path: Path) -> None:
    logged(tmp_path / "whole")
    whole = reopened(tmp_path / "whole")
    name, _, end = last_record(tmp_path / "whole")
    chance = random.Random(1)
    # All of them are in test_damage.py, in memory.
    places = [*chance.sample(range(end), 40), *chance.sample(range(end, end + 600), 10)]
    for place in places:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "bad")
        data = bytearray((tmp_path / "bad" / name.name).read_bytes().ljust(end + 600, b"\0"))
        data[place] ^= 1 << chance.randrange(8)
        (tmp_path / "bad" / name.name).write_bytes(data)
        outcome = saved_or_loss(tmp_path / "bad")
        if isinstance(outcome, Saved):
            assert place >= end, f"byte {place} of {end} was not noticed"
            assert outcome == whole
        else:
            assert "let the node join again" in outcome.message


def saved_or_loss(path: Path) -> Saved | DataLoss:
    try:
        return reopened(path)
    except DataLoss as error:
        return error


def test_a_flipped_bit_in_a_snapshot_is_refused(tmp_path: Path) -> None:
    logged(tmp_path)
    file = next(tmp_path.glob("*.snap"))
    whole = file.read_bytes()
    for place in range(0, len(whole), 16):
        data = bytearray(whole)
        data[place] ^= 4
        file.write_bytes(data)
        with pytest.raises(DataLoss):
            opened(tmp_path)
    for length in range(0, len(whole), 16):
        file.write_bytes(whole[:length])
        with pytest.raises(DataLoss):
            opened(tmp_path)


def many_segments(path: Path) -> RaftDisk:
    disk = fresh(path)
    for index in range(2, 42):
        disk.write(Write(2, 1, index - 1, entries(index, index, 2, size=400)))
    return disk


def test_a_missing_file_in_the_middle_is_refused(tmp_path: Path) -> None:
    many_segments(tmp_path).close()
    files = sorted(tmp_path.glob("*.wal"))
    assert len(files) > 5
    files[2].unlink()
    with pytest.raises(DataLoss, match="is missing"):
        opened(tmp_path)


def test_missing_files_at_the_beginning_are_refused(tmp_path: Path) -> None:
    many_segments(tmp_path).close()
    for file in sorted(tmp_path.glob("*.wal"))[:2]:
        file.unlink()
    with pytest.raises(DataLoss, match="are missing"):
        opened(tmp_path)


def test_damage_in_an_older_file_is_refused_even_if_it_looks_torn(tmp_path: Path) -> None:
    many_segments(tmp_path).close()
    older = sorted(tmp_path.glob("*.wal"))[1]
    os.truncate(older, len(older.read_bytes().rstrip(b"\0")) - 30)
    with pytest.raises(DataLoss):
        opened(tmp_path)


def test_segments_go_only_behind_a_snapshot_and_the_rest_is_still_read(tmp_path: Path) -> None:
    disk = many_segments(tmp_path)
    before = len(list(tmp_path.glob("*.wal")))
    disk.save_snapshot(SnapshotMeta(30, 2, MEMBERS), b"state at 30")
    disk.remove_segments(27)
    assert len(list(tmp_path.glob("*.wal"))) < before
    assert len(list(tmp_path.glob("*.snap"))) == 1
    assert disk.read_snapshot() == (SnapshotMeta(30, 2, MEMBERS), b"state at 30")
    disk.close()
    disk, saved, data = opened(tmp_path)
    disk.close()
    assert data == b"state at 30"
    assert saved.entries[0].index == 27, "three entries are kept for followers that are slow"
    assert saved.entries[-1].index == 41
    assert (saved.term, saved.vote, saved.commit) == (2, 1, 40)


def install(index: int, term: int) -> InstallSnapshot:
    meta = SnapshotMeta(index, term, MEMBERS)
    return InstallSnapshot(sender=2, to=1, term=term, snapshot=meta, data=b"from the leader")


def test_an_installed_snapshot_replaces_a_log_that_differs(tmp_path: Path) -> None:
    disk = fresh(tmp_path)
    disk.write(Write(2, 1, 1, entries(2, 20, 2)))
    disk.write(Write(3, 0, 10, entries(11, 12, 3), snapshot=install(10, 3)))
    disk.close()
    saved = reopened(tmp_path)
    assert saved.snapshot.index == 10
    assert saved.entries == entries(11, 12, 3)


def test_a_crash_between_the_snapshot_and_the_record_of_its_install(tmp_path: Path) -> None:
    disk = fresh(tmp_path)
    disk.write(Write(2, 1, 1, entries(2, 20, 2)))
    disk.save_snapshot(install(10, 3).snapshot, b"from the leader")
    disk.close()
    disk, saved, data = opened(tmp_path)
    assert (saved.snapshot.index, saved.entries, data) == (10, (), b"from the leader")
    assert (saved.term, saved.vote) == (3, 0)
    disk.write(Write(3, 0, 10, entries(11, 12, 3)))
    disk.close()
    assert reopened(tmp_path).entries == entries(11, 12, 3)


def test_a_crash_while_a_segment_begins_does_not_matter(tmp_path: Path) -> None:
    logged(tmp_path)
    whole = reopened(tmp_path)
    (tmp_path / f"{3:016x}.wal").write_bytes(b"")
    assert reopened(tmp_path) == whole
    last = max(tmp_path.glob("*.wal"))
    assert last.name == f"{3:016x}.wal"
    os.truncate(last, 20)
    assert reopened(tmp_path) == whole
    (tmp_path / "1234.tmp").write_bytes(b"half a snapshot")
    assert reopened(tmp_path) == whole
    assert not list(tmp_path.glob("*.tmp"))


def test_another_key_is_refused_and_named_as_the_reason(tmp_path: Path) -> None:
    logged(tmp_path)
    with pytest.raises(DataLoss, match="cannot be opened with this key"):
        opened(tmp_path, key=b"k" * 32)


def test_records_cannot_be_exchanged(tmp_path: Path) -> None:
    logged(tmp_path)
    file, start, _ = last_record(tmp_path)
    data = file.read_bytes()
    first = data.rfind(b"PSW1", 0, start)
    before = data.rfind(b"PSW1", 0, first)
    file.write_bytes(data[:before] + data[first:start] + data[before:first] + data[start:])
    with pytest.raises(DataLoss):
        opened(tmp_path)


def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    disk = fresh(tmp_path)
    secret = b"the password is swordfish"
    disk.write(Write(2, 1, 1, (Entry(2, 2, EntryKind.NORMAL, secret),)))
    disk.save_snapshot(SnapshotMeta(2, 2, MEMBERS), secret)
    disk.close()
    for file in tmp_path.iterdir():
        assert b"swordfish" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0


def test_a_second_daemon_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    disk = fresh(tmp_path)
    with pytest.raises(FailedPrecondition, match="another pyswarm daemon uses"):
        opened(tmp_path)
    disk.close()
    reopened(tmp_path)


def test_a_directory_of_another_member_is_refused(tmp_path: Path) -> None:
    logged(tmp_path)
    with pytest.raises(FailedPrecondition, match="belongs to raft member 1, not 2"):
        opened(tmp_path, raft_id=2)


class NoRoom:
    """A disk that takes `left` bytes more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 40
        self._write = os.pwrite
        monkeypatch.setattr(disk_module.os, "pwrite", self.pwrite)

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._write(file, data[: self.left], offset)
        self.left -= count
        return count


def test_a_full_disk_loses_nothing_and_the_same_write_succeeds_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = NoRoom(monkeypatch)
    disk = fresh(tmp_path)
    known = []
    for number, index in enumerate(range(2, 40)):
        write = Write(2, 1, index - 1, entries(index, index, 2, size=300))
        room.left = number * 40 % 700  # also in the middle of a record, or of a new file
        try:
            disk.write(write)
        except DiskFull:
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            copy = tmp_path / "copy"
            copy.mkdir()
            for file in tmp_path.glob("*.*"):
                shutil.copy(file, copy)
            room.left = 1 << 40
            assert reopened(copy).entries == tuple(known)
            disk.write(write)
        known += write.entries
        room.left = 1 << 40
    disk.close()
    assert reopened(tmp_path).entries == tuple(known)


@pytest.mark.parametrize("seed", range(10))
def test_any_history_reads_back_as_the_model_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    model = SimDisk(SnapshotMeta(1, 1, MEMBERS), 0, [], 1, 0, 1)
    disk = fresh(tmp_path)
    for _ in range(120):
        last = model.entries[-1].index if model.entries else model.snapshot.index
        act = chance.random()
        if act < 0.7:
            term = model.term + (chance.random() < 0.2)
            first = chance.randint(max(model.snapshot.index, model.commit) + 1, last + 1)
            new = entries(first, first + chance.randint(0, 5), term, chance.choice((5, 300)))
            write = Write(term, chance.randint(0, 3), chance.randint(model.commit, first - 1), new)
            disk.write(write)
            model.write(write)
        elif act < 0.8:
            term = model.term + 1
            meta = SnapshotMeta(last + chance.randint(1, 9), term, MEMBERS)
            message = InstallSnapshot(sender=2, to=1, term=term, snapshot=meta, data=b"7")
            write = Write(term, 0, meta.index, snapshot=message)
            disk.write(write)
            model.write(write)
        elif act < 0.9 and model.commit > model.snapshot.index:
            index = model.commit
            term = next(entry.term for entry in model.entries if entry.index == index)
            meta = SnapshotMeta(index, term, MEMBERS)
            disk.save_snapshot(meta, b"7")
            model.save_snapshot(meta, 7, 1 << 30)
            base = index - SETTINGS.entries_for_slow_followers
            if act < 0.85:
                disk.remove_segments(base)
            else:
                disk.reseal(base)
        else:
            disk.close()
            disk, saved, _ = opened(tmp_path)
            assert (saved.term, saved.vote, saved.commit) == (model.term, model.vote, model.commit)
            assert saved.snapshot == model.snapshot
            behind = [e for e in saved.entries if e.index > model.snapshot.index]
            assert behind == [e for e in model.entries if e.index > model.snapshot.index]
    disk.close()
