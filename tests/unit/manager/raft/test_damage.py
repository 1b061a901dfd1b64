"""Every single-bit flip, every truncation and every zeroed tail of a small log and snapshot.

What comes back is a state that the log had once, or a refusal; nothing else. A flip never costs
anything silently. A truncation may: what a disk has acknowledged and lost at the very end looks
like what it never had. See "What cannot be seen" in manager/raft/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from manager.raft import disk as disk_module
from manager.raft import snapshots, wal
from manager.raft.core import Saved, Write
from manager.raft.disk import RaftDisk
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from manager.raft.settings import RaftSettings
from manager.raft.wal import Frames, Record, Replay
from pyswarm.errors import DataLoss
from pyswarm.testing.raft_cluster import TestCryptor

MEMBERS = Membership.of([Member(1, "n1", "a:1")])
META = SnapshotMeta(1, 1, MEMBERS)
Files = dict[int, bytes]
ZEROS = 40
"""Of what the last file was grown with."""


def unseal(body: bytes, aad: bytes) -> bytes:
    try:
        return TestCryptor().decrypt(body, aad)
    except Exception as error:
        raise DataLoss("cannot be opened with this key") from error


def records(files: Files, number: int) -> list[Record]:
    frames = Frames(files[number], f"{number}.wal", may_be_torn=number == max(files))
    return list(wal.read_records(frames, number, unseal, f"{number}.wal"))


def saved(segments: list[list[Record]]) -> Saved:
    """As RaftDisk does it, on records."""
    replay, before = Replay(), 0
    for place, segment in enumerate(segments):
        for record in segment:
            if record.owner and place:
                wal.check_sequel(before, record, "here")
            replay.feed(record, "here")
        before = len(segment)
    return replay.saved(META, 100, "here")


def recovered(files: Files, changed: int, whole: list[list[Record]]) -> Saved | DataLoss:
    """What the files give; only the file `changed` differs from `whole`."""
    numbers = sorted(files)
    try:
        read = records(files, changed)
        return saved([read if n == changed else whole[i] for i, n in enumerate(numbers)])
    except DataLoss as error:
        return error


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Three segments, the last with four records."""
    monkeypatch.setattr(disk_module, "GROWTH_BYTES", 1)
    settings = RaftSettings(segment_bytes=420)
    disk = RaftDisk(tmp_path, TestCryptor(), settings)
    disk.open(1)
    disk.create(META, b"empty")
    for index in range(2, 9):
        entry = Entry(index, 2, EntryKind.NORMAL, b"value %d" % index)
        disk.write(Write(2, 1, index - 1, (entry,)))
    disk.write(Write(3, 1, 7))
    disk.close()
    found = {int(path.stem, 16): path.read_bytes() for path in tmp_path.glob("*.wal")}
    assert len(found) == 3
    found[3] += bytes(ZEROS)
    assert len(records(found, 3)) == 4
    return found


def whole_of(files: Files) -> list[list[Record]]:
    return [records(files, number) for number in sorted(files)]


def changes(files: Files, change: Callable[[bytes, int], bytes], number: int, places: range):
    for place in places:
        yield place, {**files, number: change(files[number], place)}


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flip_of_a_bit_is_refused_or_does_not_matter(files: Files) -> None:
    whole = whole_of(files)
    state, tried = saved(whole), 0
    for number, data in files.items():
        end = len(data) - (ZEROS if number == 3 else 0)
        for bit, changed in changes(files, flip, number, range(len(data) * 8)):
            found = recovered(changed, number, whole)
            tried += 1
            if not isinstance(found, DataLoss):
                assert bit // 8 >= end, f"bit {bit} of file {number} was not noticed"
                assert found == state
    assert tried > 8000


def prefixes(segments: list[list[Record]]) -> list[Saved]:
    """The states that the log had, oldest first."""
    last = segments[-1]
    return [saved([*segments[:-1], last[:count]]) for count in range(len(last) + 1)]


def ends(data: bytes) -> list[int]:
    """Where the records of a file end."""
    frames = Frames(data, "", may_be_torn=True)
    return [frames.end + wal.frame_bytes(len(body)) for body in frames]


def test_a_file_that_ends_early_gives_the_records_before_that_place(files: Files) -> None:
    whole = whole_of(files)
    states, borders = prefixes(whole), ends(files[3])
    for length, changed in changes(files, lambda d, n: d[:n], 3, range(len(files[3]) + 1)):
        complete = sum(border <= length for border in borders)
        assert recovered(changed, 3, whole) == states[complete]


def test_a_tail_of_zeros_gives_the_records_before_it_or_is_refused(files: Files) -> None:
    whole = whole_of(files)
    states, borders = prefixes(whole), ends(files[3])

    def zero(data: bytes, place: int) -> bytes:
        return data[:place] + bytes(len(data) - place)

    for place, changed in changes(files, zero, 3, range(len(files[3]) + 1)):
        complete = sum(border <= place for border in borders)
        found = recovered(changed, 3, whole)
        # Fewer than 8 bytes are missing, and no disk tears so: it may also be damage.
        doubtful = any(0 < border - place < 8 for border in borders)
        assert found == states[complete] or (doubtful and isinstance(found, DataLoss)), place


def test_an_older_file_that_ends_early_is_always_refused(files: Files) -> None:
    """Also at the border of a record, where nothing in the file itself is wrong."""
    whole = whole_of(files)
    for number in (1, 2):
        for length, changed in changes(
            files, lambda d, n: d[:n], number, range(len(files[number]))
        ):
            assert isinstance(recovered(changed, number, whole), DataLoss), (number, length)


def test_every_flip_and_every_early_end_of_a_snapshot_is_refused() -> None:
    cryptor = TestCryptor()
    data = b"".join(snapshots.pieces(META, b"the state", cryptor))

    def read(content: bytes) -> tuple[SnapshotMeta, bytes]:
        frames = Frames(content, "a.snap", may_be_torn=False)
        return snapshots.assemble(frames, "a.snap", unseal)

    assert read(data) == (META, b"the state")
    for bit in range(len(data) * 8):
        with pytest.raises(DataLoss):
            read(flip(data, bit))
    for length in range(len(data)):
        with pytest.raises(DataLoss):
            read(data[:length])


def test_an_exchanged_or_repeated_piece_of_a_snapshot_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "PIECE_BYTES", 4)
    one = list(snapshots.pieces(META, b"aaaabbbbcccc", TestCryptor()))
    other = list(snapshots.pieces(SnapshotMeta(2, 1, MEMBERS), b"AAAABBBBCCCC", TestCryptor()))
    for bad in (
        [one[0], one[2], one[1], one[3]],
        [one[0], one[1], one[1], one[3]],
        [one[0], one[1], one[2], other[3]],
        [other[0], *one[1:]],
        [*one, one[3]],
    ):
        frames = Frames(b"".join(bad), "a.snap", may_be_torn=False)
        with pytest.raises(DataLoss):
            snapshots.assemble(frames, "a.snap", unseal)


def test_a_sector_that_never_arrived_is_a_torn_write_however_little_of_the_frame_lies_in_it() -> (
    None
):
    first = wal.frame(b"\x01" * 420)
    for length in range(1, 200):
        data = first + wal.frame(b"\x02" * length)
        for start in range(0, len(data), wal.SECTOR_BYTES):
            stop = start + wal.SECTOR_BYTES
            begin = max(start, len(first))
            torn = data[:begin] + bytes(len(data[begin:stop])) + data[stop:]
            frames = Frames(torn, "here", may_be_torn=True)
            if torn != data:
                assert len(list(frames)) == 1, (length, start)
                assert frames.end == len(first)
