"""The bytes on disk: frames, the records in them, and what a damaged file may mean.

    frame   = "PSW1" | length u32 | CRC-32 of the body u32 | CRC-32 of these 12 bytes u32 | body
              | 0xff up to a multiple of 8
    body    = payload sealed with AEAD; file, segment and position are bound to it as the AAD

The CRC tells accidental damage without the key; the AEAD (AES-GCM) is the real integrity. One
write is one frame, and a frame is written only after the one before it is durable. So a bad frame
with a good one behind it was damaged after it had been acknowledged, and is refused. A bad frame
at the very end is a write that was torn by a crash if part of it is missing or still zero;
otherwise all of it arrived once and changed later, and it is refused as well. Frames are filled up
to 8 bytes so that what lies of one in a sector is never so short that it could be zero by chance.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from manager.raft.core import Saved, Write
from manager.raft.messages import Entry, EntryKind, SnapshotMeta
from pyswarm.errors import DataLoss

MAGIC = b"PSW1"
SECTOR_BYTES = 512
ALIGNMENT_BYTES = 8
FRAME_LIMIT_BYTES = 64 << 20
_FRAME = struct.Struct("<4sII")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _FRAME.size + _CHECK.size
_STATE = struct.Struct("<BQQQQI")  # kind, term, vote, commit, first index or owner, count
_ENTRY = struct.Struct("<QBI")  # term, kind, length

_OWNER, _WRITE, _RESET = 0, 1, 2
_KINDS = {int(kind): kind for kind in EntryKind}


class Cryptor(Protocol):
    """Seals what goes to disk; `decrypt` raises for other keys, other bytes or another `aad`."""

    def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """Seal `data`, bound to `aad`."""
        ...

    def decrypt(self, data: bytes, aad: bytes) -> bytes:
        """The reverse."""
        ...

    def key_of(self, data: bytes) -> int:
        """The number of the key that `data` is sealed with."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One frame's content. `reset`: what was logged before does not count any more."""

    term: int
    vote: int
    commit: int
    entries: tuple[Entry, ...] = ()
    reset: bool = False
    owner: int = 0  # raft id, in the first record of each segment
    before: int = 0  # there too: the records of the segment before it; 0 for not known


def frame(body: bytes) -> bytes:
    """`body` in its frame."""
    head = _FRAME.pack(MAGIC, len(body), crc32(body))
    return b"".join((head, _CHECK.pack(crc32(head)), body, _filling(len(body))))


def frame_bytes(length: int) -> int:
    """The size of a frame with a body of `length` bytes."""
    return HEADER_BYTES + length + -length % ALIGNMENT_BYTES


def _filling(length: int) -> bytes:
    return b"\xff" * (-length % ALIGNMENT_BYTES)


def encode_owner(raft_id: int, term: int, vote: int, commit: int, before: int) -> bytes:
    """The first record of a segment: whose it is, the state before it, and how many records the
    segment before it has."""
    return _STATE.pack(_OWNER, term, vote, commit, raft_id, before)


def encode_reset(term: int, vote: int, commit: int) -> bytes:
    """A record that makes the entries before it void: the snapshot's file stands for them."""
    return _STATE.pack(_RESET, term, vote, commit, 0, 0)


def encode_write(write: Write) -> bytes:
    """The record of one write."""
    first = write.entries[0].index if write.entries else 0
    kind = _RESET if write.snapshot is not None else _WRITE
    parts = [_STATE.pack(kind, write.term, write.vote, write.commit, first, len(write.entries))]
    pack = _ENTRY.pack
    for entry in write.entries:
        parts.append(pack(entry.term, entry.kind, len(entry.data)))
        parts.append(entry.data)
    return b"".join(parts)


def decode(payload: bytes) -> Record:
    """The reverse of `encode_owner` and `encode_write`; ValueError for anything else."""
    try:
        kind, term, vote, commit, first, count = _STATE.unpack_from(payload)
        if kind == _OWNER:
            return Record(term, vote, commit, owner=first, before=count)
        offset = _STATE.size
        entries = []
        for index in range(first, first + count):
            entry_term, entry_kind, length = _ENTRY.unpack_from(payload, offset)
            offset += _ENTRY.size
            data = payload[offset : offset + length]
            offset += length
            entries.append(Entry(index, entry_term, _KINDS[entry_kind], data))
    except (struct.error, KeyError) as error:
        raise ValueError("not a record of the log") from error
    if offset != len(payload):
        raise ValueError("a record of the log has another length than its entries")
    return Record(term, vote, commit, tuple(entries), reset=kind == _RESET)


class Frames:
    """Reads the frames of one file; afterwards `end` is where the next one goes.

    `may_be_torn`: only in the file that was written last. Raises DataLoss with `where` in it.
    """

    def __init__(self, data: bytes, where: str, *, may_be_torn: bool) -> None:
        self._data = data
        self._where = where
        self._may_be_torn = may_be_torn
        self.end = 0

    def __iter__(self) -> Iterator[bytes]:
        while (body := _body_at(self._data, self.end)) is not None:
            yield body
            self.end += frame_bytes(len(body))
        if self._data.count(0, self.end) == len(self._data) - self.end:
            return  # nothing but the zeros that the file was grown with
        if not self._may_be_torn or self._good_frame_behind() or not self._torn():
            raise damaged(self._where, f"a record at byte {self.end} is damaged")

    def _good_frame_behind(self) -> bool:
        at = self._data.find(MAGIC, self.end + 1)
        while at >= 0:
            if _body_at(self._data, at) is not None:
                return True
            at = self._data.find(MAGIC, at + 1)
        return False

    def _torn(self) -> bool:
        """Whether part of the last frame never arrived."""
        data, start = self._data, self.end
        length = _length_at(data, start)
        if length is not None:
            end = start + frame_bytes(length)
            if end > len(data) or not any(data[end - ALIGNMENT_BYTES : end]):
                return True
        else:
            end = len(data.rstrip(b"\0"))
            if end - start <= HEADER_BYTES:
                return True
        # Disks write whole sectors. Sealed bytes are never all zero, so a sector of zeros is one
        # that was not written.
        while start < end:
            stop = min(end, start - start % SECTOR_BYTES + SECTOR_BYTES)
            if not any(data[start:stop]):
                return True
            start = stop
        return False


def read_records(
    frames: Frames, segment: int, unseal: Callable[[bytes, bytes], bytes], where: str
) -> Iterator[Record]:
    """The records of one segment, by its number; raises DataLoss."""
    for number, body in enumerate(frames):
        try:
            yield decode(unseal(body, record_aad(segment, number)))
        except ValueError as error:
            raise damaged(where, str(error)) from error


def record_aad(segment: int, record: int) -> bytes:
    """What a record's seal is bound to: its place."""
    return b"pyswarm wal %d %d" % (segment, record)


def check_sequel(records: int, record: Record, where: str) -> None:
    """Refuse a segment whose predecessor has lost its end: `records` are what is left of it."""
    if record.before not in (0, records):
        lost = f"the file before it has {records} of its {record.before} records"
        raise damaged(where, lost)


def _length_at(data: bytes, at: int) -> int | None:
    if at + HEADER_BYTES > len(data):
        return None
    magic, length, _ = _FRAME.unpack_from(data, at)
    (check,) = _CHECK.unpack_from(data, at + _FRAME.size)
    if magic != MAGIC or check != crc32(data[at : at + _FRAME.size]):
        return None
    return int(length)


def _body_at(data: bytes, at: int) -> bytes | None:
    length = _length_at(data, at)
    if length is None or length > FRAME_LIMIT_BYTES:
        return None
    body = data[at + HEADER_BYTES : at + HEADER_BYTES + length]
    filling = data[at + HEADER_BYTES + length : at + frame_bytes(length)]
    if len(body) != length or crc32(body) != _FRAME.unpack_from(data, at)[2]:
        return None
    if filling != _filling(length):
        return None
    return body


def damaged(where: str, what: str) -> DataLoss:
    """The one sentence that a user gets for lost data."""
    return DataLoss(
        f"{where}: {what}, and acknowledged changes may be lost with it: on another manager demote "
        f"and remove this node, delete this directory and let the node join again, or restore it "
        f"from a backup"
    )


class Replay:
    """Builds a member's state from its records, oldest first."""

    def __init__(self) -> None:
        self.owner = 0
        self.term = 0
        self.vote = 0
        self.commit = 0
        self.dropped = False  # entries of before an installed snapshot: the log needs a reset
        self._entries: list[Entry] = []

    def feed(self, record: Record, where: str) -> None:
        """Take the next record."""
        self.owner = record.owner or self.owner
        self.term, self.vote, self.commit = record.term, record.vote, record.commit
        if record.reset:
            self._entries.clear()
        if not record.entries:
            return
        first = record.entries[0].index
        if self._entries:
            keep = first - self._entries[0].index
            if keep > len(self._entries):
                last = self._entries[-1].index
                raise damaged(where, f"the entries between {last} and {first} are missing")
            del self._entries[max(keep, 0) :]
        self._entries.extend(record.entries)

    def behind(self, index: int) -> list[Entry]:
        """The entries that come after `index`."""
        return [entry for entry in self._entries if entry.index > index]

    def saved(self, snapshot: SnapshotMeta, keep: int, where: str) -> Saved:
        """The state, with at most `keep` entries that the snapshot has replaced."""
        entries: Sequence[Entry] = self._entries
        if entries:
            place = snapshot.index - entries[0].index
            if place < -1:
                raise damaged(where, f"the entries behind snapshot {snapshot.index} are missing")
            if place >= len(entries) or (place >= 0 and entries[place].term != snapshot.term):
                # A crash between the file of a leader's snapshot and the record of its install.
                entries, self.dropped = (), True
            else:
                entries = entries[max(0, place - keep) :]
        if self.term < snapshot.term:
            # The same crash: the member had learnt the term of the snapshot's leader.
            self.term, self.vote, self.dropped = snapshot.term, 0, True
        return Saved(snapshot, tuple(entries), self.term, self.vote, self.commit)
