"""Data keys by number: which one seals, which ones stay, and how they are written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.keyring import KeyRing, decode_ring, encode_ring

A, B, C = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


def test_a_fresh_key_is_current_and_the_old_one_stays_until_no_file_needs_it():
    ring = KeyRing().rotated(A)
    assert (ring.current, ring.rotating) == (1, False)
    ring = ring.rotated(B)
    assert (ring.current, ring.rotating) == (2, True)
    assert ring.keeping([1, 2]) == ring
    ring = ring.keeping([2])
    assert (dict(ring.keys), ring.rotating) == ({2: B}, False)


def test_the_current_key_stays_also_where_no_file_has_it_yet():
    assert dict(KeyRing().rotated(A).rotated(B).keeping([]).keys) == {2: B}


def test_a_number_is_not_given_twice():
    ring = KeyRing().rotated(A).rotated(B).keeping([]).rotated(C)
    assert dict(ring.keys) == {2: B, 3: C}


@given(st.dictionaries(st.integers(1, 2**32 - 1), st.binary(min_size=32, max_size=32)))
def test_a_ring_is_read_as_it_was_written(keys):
    assert decode_ring(encode_ring(KeyRing(keys))) == KeyRing(keys)


@pytest.mark.parametrize("data", [b"1", b"1 00", b"x " + b"00" * 32, b"0 " + b"00" * 32, b"\xff"])
def test_a_damaged_ring_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        decode_ring(data)


def test_the_keys_are_not_in_a_log():
    assert repr(KeyRing().rotated(A)) == "KeyRing()"
