"""Sealed records open with their key and their context, and not otherwise."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.seal import OVERHEAD_BYTES, Cryptor, RingCryptor
from pyswarm.errors import DataLoss

KEY = bytes(range(32))


@given(st.binary(max_size=500), st.binary(max_size=50))
def test_what_was_sealed_opens_again_also_in_a_later_run(data, aad):
    sealed = Cryptor(KEY, b"a" * 16).encrypt(data, aad)
    assert len(sealed) == len(data) + OVERHEAD_BYTES
    assert Cryptor(KEY, b"b" * 16).decrypt(sealed, aad) == data


def test_every_byte_counts():
    cryptor = Cryptor(KEY, b"a" * 16)
    sealed = cryptor.encrypt(b"data", b"context")
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(DataLoss):
            cryptor.decrypt(bytes(damaged), b"context")
    for cut in range(len(sealed)):
        with pytest.raises(DataLoss):
            cryptor.decrypt(sealed[:cut], b"context")


def test_another_context_or_key_does_not_open_it():
    sealed = Cryptor(KEY, b"a" * 16).encrypt(b"data", b"entry 7")
    with pytest.raises(DataLoss):
        Cryptor(KEY, b"a" * 16).decrypt(sealed, b"entry 8")
    with pytest.raises(DataLoss, match="another data key"):
        Cryptor(KEY[::-1], b"a" * 16).decrypt(sealed, b"entry 7")


def test_no_nonce_comes_twice_also_from_several_threads():
    cryptor = Cryptor(KEY, b"a" * 16)
    with ThreadPoolExecutor(4) as threads:
        records = list(threads.map(lambda _: cryptor.encrypt(b""), range(2000)))
    assert len({record[:28] for record in records}) == 2000


def test_a_ring_seals_with_the_newest_key_and_opens_with_each():
    ring = RingCryptor({1: KEY}, b"a" * 12)
    old = ring.encrypt(b"old", b"x")
    ring.use({1: KEY, 2: KEY[::-1]}, b"b" * 12)
    new = ring.encrypt(b"new", b"x")
    assert (ring.key_of(old), ring.key_of(new)) == (1, 2)
    assert (ring.decrypt(old, b"x"), ring.decrypt(new, b"x")) == (b"old", b"new")
    ring.use({2: KEY[::-1]}, b"c" * 12)
    assert ring.decrypt(new, b"x") == b"new"
    with pytest.raises(DataLoss, match="data key 1"):
        ring.decrypt(old, b"x")


def test_a_key_that_stays_goes_on_counting():
    ring = RingCryptor({1: KEY}, b"a" * 12)
    records = [ring.encrypt(b"")]
    ring.use({1: KEY}, b"b" * 12)
    records.append(ring.encrypt(b""))
    assert len({record[:28] for record in records}) == 2


def test_a_record_does_not_open_under_another_number():
    ring = RingCryptor({1: KEY, 2: KEY}, b"a" * 12)
    sealed = bytearray(ring.encrypt(b"data"))
    sealed[3] = 1
    with pytest.raises(DataLoss):
        ring.decrypt(bytes(sealed))
