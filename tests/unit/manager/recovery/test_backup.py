"""A backup file is read back as it was written, or refused in one sentence."""

from __future__ import annotations

import io

import pytest

from manager.raft.membership import Member, Membership
from manager.recovery import backup
from manager.recovery.backup import Header, Sealer, read_frames, read_header
from pyswarm.errors import DataLoss, InvalidArgument
from pyswarm.testing.backups import manifest

HEADER = Header(cost=10, salt=b"0123456789abcdef")
KEY = bytes(range(32))
MANIFEST = manifest(
    created_at=1_700_000_000.5,
    membership=Membership(members=(Member(5, "n", "10.0.0.1:2377"),), removed=frozenset({7, 9})),
)


def written(pieces: list[bytes]) -> bytes:
    sealer = Sealer(KEY, HEADER)
    frames = [sealer.frame(p, last=p is pieces[-1]) for p in pieces]
    return b"".join((HEADER.encode(), *frames))


def read(data: bytes) -> list[bytes]:
    """As a restore does: the key is the same only for the same header."""
    file = io.BytesIO(data)
    header = read_header(file.read)
    key = KEY if header == HEADER else bytes(32)
    return list(read_frames(file.read, key, header))


SMALL = written([backup.encode_manifest(MANIFEST), b"the state", b"and its end"])


def test_what_was_written_is_read_back() -> None:
    pieces = [b"manifest", b"x" * backup.PIECE_BYTES, b"", b"end"]
    assert read(written(pieces)) == pieces
    assert backup.decode_manifest(read(SMALL)[0]) == MANIFEST


def test_every_cut_is_refused() -> None:
    for cut in range(len(SMALL)):
        with pytest.raises(DataLoss):
            read(SMALL[:cut])


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(len(SMALL) * 8):
        damaged = bytearray(SMALL)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataLoss):
            read(bytes(damaged))


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(DataLoss, match="behind its end"):
        read(SMALL + b"\0")


def test_frames_that_are_exchanged_repeated_or_left_out_are_refused() -> None:
    sealer = Sealer(KEY, HEADER)
    first, second, third = (sealer.frame(b"same") for _ in range(3))
    last = sealer.frame(b"end", last=True)
    assert len(read(b"".join((HEADER.encode(), first, second, third, last)))) == 4
    for wrong in (
        (first, third, second, last),
        (first, first, second, third, last),
        (first, third, last),
        (first, second, third, last, last),
    ):
        with pytest.raises(DataLoss):
            read(b"".join((HEADER.encode(), *wrong)))


def test_a_file_of_something_else_is_named() -> None:
    for other in (b"", b"PK\x03\x04" + bytes(100), backup.MAGIC, bytes(4096)):
        with pytest.raises(DataLoss, match="not a backup"):
            read(other)
    later = backup.MAGIC + b"\x02" + HEADER.encode()[len(backup.MAGIC) + 1 :]
    with pytest.raises(DataLoss, match="cannot read"):
        read(later)


def test_a_header_cannot_ask_for_memory_without_end() -> None:
    greedy = backup.MAGIC + bytes([backup.VERSION, 30]) + HEADER.salt
    with pytest.raises(DataLoss):
        read_header(io.BytesIO(greedy).read)


def test_another_passphrase_or_salt_gives_another_key() -> None:
    key = backup.new_key(b"correct horse", HEADER)
    assert key == backup.new_key(b"correct horse", HEADER)
    assert key != backup.new_key(b"correct horsf", HEADER)
    assert key != backup.new_key(b"correct horse", Header(10, b"fedcba9876543210"))
    with pytest.raises(InvalidArgument, match="at least 8"):
        backup.new_key(b"short", HEADER)


def test_the_wrong_passphrase_is_told() -> None:
    file = io.BytesIO(SMALL)
    with pytest.raises(DataLoss, match="the passphrase is wrong"):
        list(read_frames(file.read, bytes(32), read_header(file.read)))


def test_a_manifest_that_says_nothing_is_refused() -> None:
    good = backup.encode_manifest(MANIFEST)
    for bad in (
        b"",
        b"[]",
        b"{}",
        b"null",
        good.replace(b"17", b'"x"'),
        good.replace(b"17", b"-1"),
    ):
        with pytest.raises(DataLoss):
            backup.decode_manifest(bad)
