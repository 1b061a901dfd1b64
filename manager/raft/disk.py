"""The WAL in segments and the snapshot files of one member. Blocking: runs in the writer thread.

    <directory>/lock                      held while a daemon runs
    <directory>/0000000000000003.wal      segments in the order of their numbers
    <directory>/00000000000004d2.snap     the newest snapshot, named by its index
    <directory>/*.tmp                     a file that is not complete: removed at the start

A file grows in steps of zeros, so most syncs change no metadata. A failed write leaves nothing
behind that counts: the next one goes to the same place.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manager.raft import snapshots, wal
from manager.raft.core import Saved, Write
from manager.raft.messages import Entry, SnapshotMeta
from manager.raft.settings import RaftSettings
from manager.raft.wal import Cryptor, Frames, Record, Replay
from pyswarm.crashpoints import reach
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
            _sync_directory(self._directory.parent)
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
        reach("recovery.locked")

    def _recover(self, raft_id: int) -> tuple[Saved, bytes]:
        for stray in self._directory.glob("*.tmp"):
            stray.unlink()
            reach("recovery.stray-removed")
        # A killed process may have left names that the next power cut takes away again. Nothing
        # may be built on them before they are durable.
        _sync_directory(self._directory)
        reach("recovery.names-synced")
        snapshot, data = self._newest_snapshot() or (SnapshotMeta(), b"")
        reach("recovery.snapshot-read")
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
                reach("recovery.segment-dropped")
            self._begin_segment()
        if replay.dropped:
            reach("recovery.reset-due")
            self._append(wal.encode_reset(*self._state))
        reach("recovery.done")
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
            reach("recovery.segment-read")
        if paths:
            self._file = os.open(paths[-1], os.O_RDWR | os.O_CLOEXEC)
            # Whatever a torn write left behind must not look like a record later.
            os.ftruncate(self._file, self._offset)
            reach("recovery.tail-cut")
            os.fsync(self._file)
            reach("recovery.tail-synced")
            self._size = self._offset
        return replay

    def _records(self, segment: _Segment, *, last: bool) -> Iterator[Record]:
        where = str(segment.path)
        frames = Frames(segment.path.read_bytes(), where, may_be_torn=last)
        before, self._record = self._record, 0
        for record in wal.read_records(frames, segment.number, self._open_body, where):
            if record.owner and segment is not self._segments[0]:
                wal.check_sequel(before, record, where)
            yield record
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

    # -- writing ----------------------------------------------------------------------------

    def create(self, snapshot: SnapshotMeta, data: bytes) -> Saved:
        """Write the state that a new cluster begins with, into the empty directory."""
        self.save_snapshot(snapshot, data)
        reach("cluster.snapshot-saved")
        self._state = (snapshot.term, 0, snapshot.index)
        self._append(wal.encode_reset(*self._state))
        return Saved(snapshot, (), *self._state)

    def write(self, write: Write) -> None:
        """Make `write` durable; raises DiskFull where there is no room, and may be repeated."""
        try:
            if write.snapshot is not None:
                self.save_snapshot(write.snapshot.snapshot, write.snapshot.data)
                reach("wal.snapshot-installed")
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
        aad = wal.record_aad(self._segments[-1].number, self._record)
        framed = wal.frame(self._cryptor.encrypt(payload, aad))
        end = self._offset + len(framed)
        padding = b""
        if end > self._size:
            padding = bytes(-end % GROWTH_BYTES)
        reach("wal.begun")
        _write_at(self._file, framed + padding, self._offset)
        reach("wal.written")
        os.fdatasync(self._file)
        reach("wal.synced")
        self._size = max(self._size, end + len(padding))
        self._offset = end
        self._record += 1

    def _begin_segment(self, entries: Sequence[Entry] = ()) -> None:
        """Go on in a new file, which begins with the state that the others have built.

        With `entries` it has its name only when it holds all of them: the first of them makes
        those of the older files void.
        """
        number = self._segments[-1].number + 1 if self._segments else 1
        segment = _Segment(number, self._directory / f"{number:016x}.wal")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        old = (self._file, self._offset, self._size, self._record)
        path = segment.path.with_suffix(".wal.tmp") if entries else segment.path
        reach("segment.due")
        self._file = os.open(path, flags, 0o600)
        reach("segment.created")
        self._offset = self._size = self._record = 0
        self._segments.append(segment)
        try:
            self._append(wal.encode_owner(self._owner, *self._state, old[3]))
            reach("segment.begun")
            for batch in _batches(entries, self._settings.append_bytes):
                self._append(wal.encode_write(Write(*self._state, batch)))
                segment.last_index = batch[-1].index
                reach("segment.refilled")
            path.rename(segment.path)
            reach("segment.named")
            _sync_directory(self._directory)
            reach("segment.ready")
        except OSError:
            os.close(self._file)
            self._file, self._offset, self._size, self._record = old
            path.unlink(missing_ok=True)
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
            reach("segment.removed")
        if removed:
            _sync_directory(self._directory)
            reach("segment.removal-synced")

    def reseal(self, base_index: int) -> frozenset[int]:
        """Write the log behind `base_index` again, and remove the files that held it.

        So everything is sealed with the cryptor's newest key, if the snapshot is. The numbers of
        the keys that are in use afterwards. Raises DiskFull, and may be repeated.
        """
        try:
            replay, last = Replay(), self._segments[-1]
            for segment in self._segments:
                # The last file is read to the place where it goes on, so that place stays.
                for record in self._records(segment, last=segment is last):
                    replay.feed(record, str(segment.path))
            older = list(self._segments)
            self._begin_segment(replay.behind(base_index))
            for segment in older:
                segment.last_index = 0
            self.remove_segments(base_index)
        except OSError as error:
            if error.errno in _FULL:
                raise self._full() from error
            raise
        return frozenset(self._keys_in_use())

    def _keys_in_use(self) -> Iterator[int]:
        for pattern in ("*.wal", "*.snap"):
            for path in self._directory.glob(pattern):
                for body in Frames(path.read_bytes(), str(path), may_be_torn=True):
                    yield self._cryptor.key_of(body)

    # -- snapshots --------------------------------------------------------------------------

    def save_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """Write a snapshot's file and remove older ones; raises DiskFull."""
        path = self._directory / f"{snapshot.index:016x}.snap"
        temporary = path.with_suffix(".tmp")
        try:
            with open(temporary, "wb", opener=_private) as file:
                reach("snapshot.created")
                for piece in snapshots.pieces(snapshot, data, self._cryptor):
                    file.write(piece)
                    reach("snapshot.piece-written")
                file.flush()
                reach("snapshot.written")
                os.fsync(file.fileno())
            reach("snapshot.synced")
            os.rename(temporary, path)
            reach("snapshot.renamed")
            _sync_directory(self._directory)
            reach("snapshot.durable")
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in _FULL:
                raise self._full() from error
            raise
        for other in self._directory.glob("*.snap"):
            if other.name < path.name:
                other.unlink(missing_ok=True)
                reach("snapshot.older-removed")

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


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _batches(entries: Iterable[Entry], limit_bytes: int) -> Iterator[tuple[Entry, ...]]:
    """The entries in records of about `limit_bytes` at most."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry.data) > limit_bytes:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.data)
    if batch:
        yield tuple(batch)


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view = view[count:]
        offset += count
