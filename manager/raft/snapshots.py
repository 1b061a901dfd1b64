"""A snapshot's file: a sealed frame that says what it is, then the data in sealed pieces.

Each piece is bound to its snapshot and its place, and the first frame names the length of all, so
a missing, exchanged or repeated piece is found.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

from manager.raft import wal
from manager.raft.membership import decode_membership, encode_membership
from manager.raft.messages import SnapshotMeta
from manager.raft.wal import Cryptor

PIECE_BYTES = 1 << 20
_META = struct.Struct("<QQQ")  # index, term, bytes of data


def encode_meta(snapshot: SnapshotMeta, size: int) -> bytes:
    """What the first frame of a file, and the first chunk on the wire, say."""
    head = _META.pack(snapshot.index, snapshot.term, size)
    return head + encode_membership(snapshot.membership)


def decode_meta(payload: bytes) -> tuple[SnapshotMeta, int]:
    """The reverse: the snapshot without data, and the length of the data; ValueError."""
    if len(payload) < _META.size:
        raise ValueError("the head of a snapshot is too short")
    index, term, size = _META.unpack_from(payload)
    membership = decode_membership(payload[_META.size :])
    return SnapshotMeta(index, term, membership), size


def pieces(snapshot: SnapshotMeta, data: bytes, cryptor: Cryptor) -> Iterator[bytes]:
    """The frames of the file."""
    yield wal.frame(cryptor.encrypt(encode_meta(snapshot, len(data)), _aad(0, 0)))
    for number, start in enumerate(range(0, len(data), PIECE_BYTES), 1):
        piece = data[start : start + PIECE_BYTES]
        yield wal.frame(cryptor.encrypt(piece, _aad(snapshot.index, number)))


def assemble(
    bodies: Iterable[bytes], where: str, unseal: Callable[[bytes, bytes], bytes]
) -> tuple[SnapshotMeta, bytes]:
    """The snapshot of a file's frames; DataLoss where they are not complete."""
    snapshot, size, parts = SnapshotMeta(), -1, []
    for number, body in enumerate(bodies):
        payload = unseal(body, _aad(snapshot.index, number))
        if number:
            parts.append(payload)
            continue
        try:
            snapshot, size = decode_meta(payload)
        except ValueError as error:
            raise wal.damaged(where, str(error)) from error
    data = b"".join(parts)
    if len(data) != size:
        raise wal.damaged(where, f"the snapshot has {len(data)} of {size} bytes")
    return snapshot, data


def _aad(index: int, number: int) -> bytes:
    return b"pyswarm snapshot %d %d" % (index, number)
