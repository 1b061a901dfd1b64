"""Whatever bytes come as a backup file: they are read as written, or refused as data loss."""

from __future__ import annotations

import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from manager.recovery.backup import (
    MAGIC,
    VERSION,
    Header,
    Sealer,
    decode_manifest,
    read_frames,
    read_header,
)
from pyswarm.errors import DataLoss

KEY = bytes(32)
HEADER = Header(cost=10, salt=bytes(16))
PIECES = [b"{}", b"some state" * 20, b"", b"its end"]


def file_of(pieces: list[bytes]) -> bytes:
    sealer = Sealer(KEY, HEADER)
    last = len(pieces) - 1
    frames = [sealer.frame(piece, last=place == last) for place, piece in enumerate(pieces)]
    return b"".join((HEADER.encode(), *frames))


GOOD = file_of(PIECES)


def pieces_of(data: bytes) -> list[bytes] | None:
    """All pieces; None where the file is refused."""
    file = io.BytesIO(data)
    try:
        return list(read_frames(file.read, KEY, read_header(file.read)))
    except DataLoss:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    start = MAGIC + bytes([VERSION, HEADER.cost]) + HEADER.salt
    assert pieces_of(noise) is None
    assert pieces_of(start + noise) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_file_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    """Cut out a part, put in another: of noise, or of the file itself."""
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, len(GOOD)))
    other = data.draw(st.integers(0, len(GOOD)))
    part = data.draw(st.one_of(st.binary(max_size=80), st.just(GOOD[other : other + end - start])))
    changed = GOOD[:start] + part + GOOD[end:]
    assert pieces_of(changed) == (PIECES if changed == GOOD else None)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_a_manifest_of_noise_is_refused(noise: bytes) -> None:
    try:
        decode_manifest(noise)
    except DataLoss:
        return
    raise AssertionError(f"{noise!r} was taken for a manifest")


odd_values = st.sampled_from(
    [None, True, -1, 7, 1.5, "", "x", "[[], []]", "[[[0]], []]", [], [3], {}, {"a": 1}, {"a": "x"}]
)
FIELDS = (
    *("created_at", "pyswarm_version", "cluster_id", "node_id", "hostname"),
    *("index", "term", "membership", "state_bytes", "counts"),
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(FIELDS, odd_values)))
def test_a_manifest_of_wrong_values_is_refused_or_read(fields: dict[str, object]) -> None:
    try:
        manifest = decode_manifest(json.dumps(fields).encode())
    except DataLoss:
        return
    assert min(manifest.index, manifest.term, manifest.state_bytes) >= 0
