"""What recovery does to a manager's raft directory, and what it reads off it. Blocking."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from manager.raft.core import Saved, Write
from manager.raft.disk import RaftDisk
from manager.raft.messages import InstallSnapshot, SnapshotMeta
from manager.raft.settings import RaftSettings
from manager.raft.wal import Cryptor

Rewrite = Callable[[Saved, bytes], tuple[SnapshotMeta, bytes]]
"""What the disk has (the state, and the snapshot's data) to the snapshot that shall replace it."""


def create(
    directory: Path, cryptor: Cryptor, raft_id: int, snapshot: SnapshotMeta, data: bytes
) -> None:
    """Write the state of a swarm of one manager into an empty directory; raises SwarmError."""
    disk = RaftDisk(directory, cryptor, RaftSettings())
    disk.open(raft_id)
    try:
        disk.create(snapshot, data)
    finally:
        disk.close()


def rewrite(directory: Path, cryptor: Cryptor, raft_id: int, change: Rewrite) -> SnapshotMeta:
    """Replace what a stopped manager has on disk, all at once; raises SwarmError.

    The snapshot's rename is the one step that counts: a crash before it leaves the old state, one
    behind it the new, since entries of before a snapshot of a later term are void.
    """
    disk = RaftDisk(directory, cryptor, RaftSettings())
    saved, old = disk.open(raft_id)
    try:
        snapshot, data = change(saved, old)
        message = InstallSnapshot(
            sender=raft_id, to=raft_id, term=snapshot.term, snapshot=snapshot, data=data
        )
        disk.write(Write(snapshot.term, 0, snapshot.index, snapshot=message))
        disk.remove_segments(snapshot.index)
        return snapshot
    finally:
        disk.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFigures:
    """Sizes in bytes; `snapshot_at` in seconds since the epoch, 0 where there is no snapshot."""

    snapshot_at: float = 0.0
    snapshot_bytes: int = 0
    log_bytes: int = 0
    log_segments: int = 0


def figures(directory: Path) -> DiskFigures:
    """The files of a running manager."""
    logs = _statuses(directory, "*.wal")
    snapshots = _statuses(directory, "*.snap")
    return DiskFigures(
        snapshot_at=snapshots[-1].st_mtime if snapshots else 0.0,
        snapshot_bytes=snapshots[-1].st_size if snapshots else 0,
        log_bytes=sum(status.st_size for status in logs),
        log_segments=len(logs),
    )


def _statuses(directory: Path, pattern: str) -> list[os.stat_result]:
    found = []
    for path in sorted(directory.glob(pattern)):
        with suppress(FileNotFoundError):  # replaced by a newer one meanwhile
            found.append(path.stat())
    return found
