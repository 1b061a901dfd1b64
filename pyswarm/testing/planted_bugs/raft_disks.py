"""Bugs of the disk: what a power cut, a torn write or a flipped bit makes of the log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from manager.raft import disk as disk_module
from manager.raft import snapshots, wal
from manager.raft.core import Saved, Write
from manager.raft.disk import RaftDisk
from manager.raft.membership import Membership
from manager.raft.messages import SnapshotMeta
from manager.raft.wal import Frames, Record, Replay
from pyswarm.testing.planted_bugs import Catalogue, patched
from pyswarm.testing.planted_bugs.raft_searches import disk

Planted = AbstractContextManager[None]
BUGS = Catalogue()


def _without(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`call`, in which the function `name` of `os` does nothing."""

    def careless(self: RaftDisk, *args: Any, **more: Any) -> Any:
        module: Any = disk_module
        whole = module.os
        module.os = _Without(whole, name)
        try:
            return call(self, *args, **more)
        finally:
            module.os = whole

    return careless


class _Without:
    """A module without one of its functions."""

    def __init__(self, module: Any, gone: str) -> None:
        self._module = module
        self._gone = gone

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name == self._gone else getattr(self._module, name)


@BUGS.add("Records of the log are not synced.", disk)
def no_fdatasync() -> Planted:
    """They are in the page cache, and a power cut takes them."""
    return patched((RaftDisk, "_append", _without(RaftDisk._append, "fdatasync")))


@BUGS.add("A snapshot's file gets its name before its content is synced.", disk)
def snapshot_not_synced() -> Planted:
    """The name is durable and the bytes are not."""
    return patched((RaftDisk, "save_snapshot", _without(RaftDisk.save_snapshot, "fsync")))


@BUGS.add("New files' names are not synced.", disk)
def directory_not_synced() -> Planted:
    """A file without a name is lost with all that was synced into it."""
    return patched((disk_module, "_sync_directory", lambda path: None))


@BUGS.add("Reading the log stops early.", disk)
def replay_stops_early() -> Planted:
    """After some records, as if the rest were the zeros that the file was grown with."""
    records = RaftDisk._records

    def short(self: RaftDisk, segment: Any, *, last: bool) -> Iterator[Record]:
        return itertools.islice(records(self, segment, last=last), 20)

    return patched((RaftDisk, "_records", short))


@BUGS.add("Half of a record is kept at the end of the log.", disk)
def torn_tail_kept() -> Planted:
    """The next record goes behind it, where nobody finds it."""
    records = RaftDisk._records

    def kept(self: RaftDisk, segment: Any, *, last: bool) -> Iterator[Record]:
        yield from records(self, segment, last=last)
        self._offset = max(self._offset, len(segment.path.read_bytes().rstrip(b"\0")))

    return patched((RaftDisk, "_records", kept))


@BUGS.add("A torn write is refused as damage.", disk)
def torn_tail_refused() -> Planted:
    """A manager does not start after a power cut."""
    return patched((Frames, "_torn", lambda self: False))


@BUGS.add("Damage is taken for a torn write.", disk)
def damage_taken_for_a_torn_write() -> Planted:
    """Acknowledged records behind it are forgotten without a word."""
    return patched(
        (Frames, "_torn", lambda self: True), (Frames, "_good_frame_behind", lambda self: False)
    )


@BUGS.add("After a restart the log goes on at the place of its last record.", disk)
def position_used_again() -> Planted:
    """Which is gone then."""
    records = RaftDisk._records

    def again(self: RaftDisk, segment: Any, *, last: bool) -> Iterator[Record]:
        frames = Frames(segment.path.read_bytes(), str(segment.path), may_be_torn=last)
        starts = [frames.end for _ in frames]
        yield from records(self, segment, last=last)
        if last and len(starts) > 1:
            self._offset = starts[-1]
            self._record -= 1

    return patched((RaftDisk, "_records", again))


@BUGS.add("Files of the log go before a snapshot stands for all that is in them.", disk)
def segments_removed_too_early() -> Planted:
    """Their last entries are needed."""
    remove = RaftDisk.remove_segments

    def eager(self: RaftDisk, base_index: int) -> None:
        remove(self, base_index + 5)

    return patched((RaftDisk, "remove_segments", eager))


@BUGS.add("A new file of the log begins without term and vote.", disk)
def new_segment_forgets_the_state() -> Planted:
    """When the older files go, they are gone."""
    owner = wal.encode_owner

    def forgetful(raft_id: int, term: int, vote: int, commit: int, before: int) -> bytes:
        return owner(raft_id, 0, 0, 0, before)

    return patched((wal, "encode_owner", forgetful))


@BUGS.add("The old log stays in front of a leader's snapshot.", disk)
def install_keeps_the_old_log() -> Planted:
    """After a restart entries are back that the leader does not have."""
    encode = wal.encode_write
    return patched((wal, "encode_write", lambda write: encode(replace(write, snapshot=None))))


@BUGS.add("The vote is not written.", disk)
def vote_not_written() -> Planted:
    """Only the term is."""
    encode = wal.encode_write
    return patched((wal, "encode_write", lambda write: encode(replace(write, vote=0))))


@BUGS.add("The term is not written.", disk)
def term_not_written() -> Planted:
    """The vote then belongs to an older one."""
    encode = wal.encode_write
    return patched((wal, "encode_write", lambda write: encode(replace(write, term=1))))


@BUGS.add("Entries of a large write are not all written.", disk)
def long_write_cut() -> Planted:
    """Off by one."""
    encode = wal.encode_write

    def cut(write: Write) -> bytes:
        kept = write.entries[:-1] if len(write.entries) > 2 else write.entries
        return encode(replace(write, entries=kept))

    return patched((wal, "encode_write", cut))


@BUGS.add("Entries that were replaced come back after a restart.", disk)
def replay_keeps_replaced_entries() -> Planted:
    """The tail of the old log stays behind the new entries."""
    feed = Replay.feed

    def keep(self: Replay, record: Record, where: str) -> None:
        before = list(self._entries)
        feed(self, record, where)
        if not record.reset and self._entries and before:
            self._entries.extend(e for e in before if e.index > self._entries[-1].index)

    return patched((Replay, "feed", keep))


@BUGS.add("A snapshot's file does not say who takes part.", disk)
def snapshot_file_forgets_members() -> Planted:
    """A member that restarts knows nobody."""
    encode = snapshots.encode_meta

    def forgetful(snapshot: SnapshotMeta, size: int) -> bytes:
        return encode(replace(snapshot, membership=Membership()), size)

    return patched((snapshots, "encode_meta", forgetful))


@BUGS.add("Entries behind an own snapshot are lost at a restart.", disk)
def snapshot_hides_the_log() -> Planted:
    """The snapshot counts as all there is."""
    saved = Replay.saved

    def short(self: Replay, snapshot: SnapshotMeta, keep: int, where: str) -> Saved:
        found = saved(self, snapshot, keep, where)
        return replace(found, entries=()) if snapshot.index > 1 else found

    return patched((Replay, "saved", short))


@BUGS.add("An older snapshot is read although there is a newer one.", disk)
def oldest_snapshot_read() -> Planted:
    """A power cut has left both."""
    newest = RaftDisk._newest_snapshot

    def oldest(self: RaftDisk) -> Any:
        paths = sorted(self._directory.glob("*.snap"))
        for path in paths[1:]:
            path.unlink()
        return newest(self)

    return patched((RaftDisk, "_newest_snapshot", oldest))


@BUGS.add("The old snapshot goes before the new one has its name.", disk)
def old_snapshot_removed_first() -> Planted:
    """A power cut between the two leaves none."""
    save = RaftDisk.save_snapshot

    def hasty(self: RaftDisk, snapshot: SnapshotMeta, data: bytes) -> None:
        for path in Path(self._directory).glob("*.snap"):
            path.unlink()
        disk_module._sync_directory(self._directory)
        save(self, snapshot, data)

    return patched((RaftDisk, "save_snapshot", hasty))
