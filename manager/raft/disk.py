"""The WAL in segments and the snapshot files of one member. Blocking: runs in the writer thread.

    <directory>/lock                      held while a daemon runs
    <directory>/0000000000000003.wal      segments in the order of their numbers
    <directory>/00000000000004d2.snap     the newest snapshot, named by its index

A file grows in steps of zeros, so most syncs change no metadata. A failed write leaves nothing
behind that counts: the next one goes to the same place.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manager.raft import snapshots, wal
from manager.raft.core import Saved, Write
from manager.raft.messages import SnapshotMeta
from manager.raft.settings import RaftSettings
from manager.raft.wal import Cryptor, Frames, Record, Replay
from pyswarm.errors import DataLoss, FailedPrecondition, ResourceExhausted

log = logging.getLogger(__name__)

GROWTH_BYTES = 256 << 10
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DiskFull(ResourceExhausted):
    """There is no room for the log; nothing was lost, and the write may be tried again."""


def has_state(directory: Path) -> bool:
    """Whether a member has ever written here."""
    return any(directory.glob("*.wal")) or any(directory.glob("*.snap"))


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    last_index: int = 0  # the highest index of an entry in it


class RaftDisk:
    """Owns the directory. `open`, then `write` from one thread at a time.

    `save_snapshot` and `read_snapshot` may run in another thread beside `write`.
    """

    def __init__(self, directory: Path, cryptor: Cryptor, settings: RaftSettings) -> None:
        self._directory = directory
        self._cryptor = cryptor
        self._settings = settings
        self._lock: int | None = None
        self._file: int | None = None
        self._segments: list[_Segment] = []
        self._offset = 0
        self._size = 0
        self._record = 0  # number of the next record in the segment
        self._owner = 0
        self._state = (0, 0, 0)  # term, vote, commit: what the records so far have built

    # -- opening ----------------------------------------------------------------------------

    def open(self, raft_id: int) -> tuple[Saved, bytes]:
        """Lock the directory and read it; the saved state and the snapshot's data.

        An empty directory gives an empty state. Raises DataLoss where acknowledged data is
        damaged, FailedPrecondition where another process or another member owns the directory.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            return self._recover(raft_id)
        except OSError as error:
            self.close()
            if error.errno in _FULL:
                raise self._full() from error
            raise FailedPrecondition(f"{self._directory} cannot be used: {error}") from error
        except BaseException:
            self.close()
            raise

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            self._lock = None
            raise FailedPrecondition(
                f"another pyswarm daemon uses {self._directory}: stop it first"
            ) from error

    def _recover(self, raft_id: int) -> tuple[Saved, bytes]:
        for stray in self._directory.glob("*.tmp"):
            stray.unlink()
        snapshot, data = self._newest_snapshot() or (SnapshotMeta(), b"")
        replay = self._replay()
        if replay.owner not in (0, raft_id):
            raise FailedPrecondition(
                f"{self._directory} belongs to raft member {replay.owner:x}, not {raft_id:x}"
            )
        self._owner = raft_id
        keep = self._settings.entries_for_slow_followers
        saved = replay.saved(snapshot, keep, str(self._directory))
        self._state = (saved.term, saved.vote, saved.commit)
        if not self._segments or self._record == 0:
            if self._segments:
                self._drop(self._segments.pop())  # its creation did not get as far as its owner
            self._begin_segment()
        if replay.dropped:
            self._append(wal.encode_reset(*self._state))
        return saved, data

    def _replay(self) -> Replay:
        replay = Replay()
        paths = sorted(self._directory.glob("*.wal"))
        for path in paths:
            segment = _Segment(int(path.stem, 16), path)
            if self._segments and segment.number != self._segments[-1].number + 1:
                raise wal.damaged(str(self._directory), f"the file before {path.name} is missing")
            self._segments.append(segment)
            for record in self._records(segment, last=path == paths[-1]):
                replay.feed(record, str(path))
                if record.entries:
                    segment.last_index = max(segment.last_index, record.entries[-1].index)
        if paths:
            self._file = os.open(paths[-1], os.O_RDWR | os.O_CLOEXEC)
            # Whatever a torn write left behind must not look like a record later.
            os.ftruncate(self._file, self._offset)
            os.fsync(self._file)
            self._size = self._offset
        return replay

    def _records(self, segment: _Segment, *, last: bool) -> Iterator[Record]:
        frames = Frames(segment.path.read_bytes(), str(segment.path), may_be_torn=last)
        self._record = 0
        for body in frames:
            try:
                yield wal.decode(self._open_body(body, self._aad(segment.number, self._record)))
            except ValueError as error:
                raise wal.damaged(str(segment.path), str(error)) from error
            self._record += 1
        self._offset = frames.end

    def _open_body(self, body: bytes, aad: bytes) -> bytes:
        try:
            return self._cryptor.decrypt(body, aad)
        except Exception as error:
            raise DataLoss(
                f"{self._directory} cannot be opened with this key: give the daemon the key that "
                f"it was written with"
            ) from error

    @staticmethod
    def _aad(segment: int, record: int) -> bytes:
        return b"pyswarm wal %d %d" % (segment, record)

    # -- writing ----------------------------------------------------------------------------

    def create(self, snapshot: SnapshotMeta, data: bytes) -> Saved:
        """Write the state that a new cluster begins with, into the empty directory."""
        self.save_snapshot(snapshot, data)
        self._state = (snapshot.term, 0, snapshot.index)
        self._append(wal.encode_reset(*self._state))
        return Saved(snapshot, (), *self._state)

    def write(self, write: Write) -> None:
        """Make `write` durable; raises DiskFull where there is no room, and may be repeated."""
        try:
            if write.snapshot is not None:
                self.save_snapshot(write.snapshot.snapshot, write.snapshot.data)
            payload = wal.encode_write(write)
            if self._record > 1 and self._offset + len(payload) > self._settings.segment_bytes:
                self._begin_segment()
            self._append(payload)
            self._state = (write.term, write.vote, write.commit)
        except OSError as error:
            if error.errno in _FULL:
                raise self._full() from error
            raise
        if write.entries:
            segment = self._segments[-1]
            segment.last_index = max(segment.last_index, write.entries[-1].index)

    def _full(self) -> DiskFull:
        return DiskFull(
            f"the disk under {self._directory} is full: make room there; until then this manager "
            f"neither leads nor acknowledges anything"
        )

    def _append(self, payload: bytes) -> None:
        assert self._file is not None, "the log is not open"
        aad = self._aad(self._segments[-1].number, self._record)
        framed = wal.frame(self._cryptor.encrypt(payload, aad))
        end = self._offset + len(framed)
        padding = b""
        if end > self._size:
            padding = bytes(-end % GROWTH_BYTES)
        _write_at(self._file, framed + padding, self._offset)
        os.fdatasync(self._file)
        self._size = max(self._size, end + len(padding))
        self._offset = end
        self._record += 1

    def _begin_segment(self) -> None:
        """Go on in a new file, which begins with the state that the others have built."""
        number = self._segments[-1].number + 1 if self._segments else 1
        segment = _Segment(number, self._directory / f"{number:016x}.wal")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        old = (self._file, self._offset, self._size, self._record)
        self._file = os.open(segment.path, flags, 0o600)
        self._offset = self._size = self._record = 0
        self._segments.append(segment)
        try:
            self._append(wal.encode_owner(self._owner, *self._state))
            self._sync_directory()
        except OSError:
            os.close(self._file)
            self._file, self._offset, self._size, self._record = old
            self._drop(self._segments.pop())
            raise
        if old[0] is not None:
            os.close(old[0])

    def _drop(self, segment: _Segment) -> None:
        segment.path.unlink(missing_ok=True)

    def remove_segments(self, base_index: int) -> None:
        """Remove the oldest files whose entries all lie at or below `base_index`."""
        removed = False
        while len(self._segments) > 1 and self._segments[0].last_index <= base_index:
            self._drop(self._segments.pop(0))
            removed = True
        if removed:
            self._sync_directory()

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    # -- snapshots --------------------------------------------------------------------------

    def save_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """Write a snapshot's file and remove older ones; raises DiskFull."""
        path = self._directory / f"{snapshot.index:016x}.snap"
        temporary = path.with_suffix(".tmp")
        try:
            with open(temporary, "wb", opener=_private) as file:
                for piece in snapshots.pieces(snapshot, data, self._cryptor):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
            self._sync_directory()
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in _FULL:
                raise self._full() from error
            raise
        for other in self._directory.glob("*.snap"):
            if other.name < path.name:
                other.unlink(missing_ok=True)

    def read_snapshot(self) -> tuple[SnapshotMeta, bytes]:
        """The newest snapshot, for a member that is far behind."""
        found = self._newest_snapshot()
        if found is None:
            raise DataLoss(f"{self._directory} holds no snapshot")
        return found

    def _newest_snapshot(self) -> tuple[SnapshotMeta, bytes] | None:
        while True:
            paths = sorted(self._directory.glob("*.snap"))
            if not paths:
                return None
            try:
                data = paths[-1].read_bytes()
            except FileNotFoundError:
                continue  # a newer one took its place between the two calls
            bodies = Frames(data, str(paths[-1]), may_be_torn=False)
            return snapshots.assemble(bodies, str(paths[-1]), self._open_body)

    def close(self) -> None:
        """Release the files and the lock."""
        for handle in (self._file, self._lock):
            if handle is not None:
                os.close(handle)
        self._file = self._lock = None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view = view[count:]
        offset += count
