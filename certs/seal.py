"""Sealing: AES-256-GCM under a data key, for everything secret that a manager writes to disk.

    sealed = salt (16) | counter (12) | ciphertext and tag (16)
    salt   = number of the data key (4) | random (12)

GCM breaks when a nonce comes twice, and 96 random bits under one key are good for 2^32 records
only, which a busy log reaches within days. So each cryptor derives a key of its own from the data
key and a random salt (HMAC-SHA256, one block of HKDF) and counts: 2^96 records for each of 2^96
runs of each key. A record names its data key, so that keys can change while a log is written.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyswarm.errors import DataLoss

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
_NUMBER_BYTES: Final = 4
RANDOM_BYTES: Final = SALT_BYTES - _NUMBER_BYTES
NUMBER_MAX: Final = 2 ** (8 * _NUMBER_BYTES) - 1
_COUNTER_BYTES: Final = 12
OVERHEAD_BYTES: Final = SALT_BYTES + _COUNTER_BYTES + 16
_LABEL: Final = b"pyswarm seal 1 "


class Cryptor:
    """Seals and opens records; safe to share between threads.

    `salt` must be fresh random bytes for every cryptor that encrypts.
    """

    def __init__(self, key: bytes, salt: bytes) -> None:
        assert len(key) == KEY_BYTES, f"a data key has {KEY_BYTES} bytes, not {len(key)}"
        assert len(salt) == SALT_BYTES, f"a salt has {SALT_BYTES} bytes, not {len(salt)}"
        self._salt = salt
        # Records of many runs lie in one log, each run with its salt.
        self._derive = lru_cache(maxsize=64)(lambda other: _derive(key, other))
        self._mine = self._derive(salt)
        # next() on it is one step of the interpreter, so no two threads get the same number.
        self._counter = itertools.count()

    def encrypt(self, data: bytes, aad: bytes = b"") -> bytes:
        """Seal `data`; `aad` is not stored, but must be the same when it is opened."""
        counter = next(self._counter).to_bytes(_COUNTER_BYTES, "big")
        return self._salt + counter + self._mine.encrypt(counter, data, aad)

    def decrypt(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Open what any cryptor with this data key sealed; `DataLoss` where it cannot be."""
        if len(sealed) < OVERHEAD_BYTES:
            raise DataLoss(f"a sealed record of {len(sealed)} bytes is too short to be one")
        salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
        try:
            return self._derive(salt).decrypt(rest[:_COUNTER_BYTES], rest[_COUNTER_BYTES:], aad)
        except InvalidTag as error:
            raise DataLoss(
                "a sealed record cannot be opened: it is damaged, or was sealed with another "
                "data key"
            ) from error


class RingCryptor:
    """Seals with the newest of several numbered data keys, opens with any; threads may share it."""

    def __init__(self, keys: Mapping[int, bytes], fresh: bytes) -> None:
        self._keys: Mapping[int, bytes] = {}
        self._cryptors: Mapping[int, Cryptor] = {}
        self.use(keys, fresh)

    def use(self, keys: Mapping[int, bytes], fresh: bytes) -> None:
        """Go on with these keys; `fresh` are `RANDOM_BYTES` that were never given before."""
        same = {n: c for n, c in self._cryptors.items() if self._keys.get(n) == keys.get(n)}
        made = {n: Cryptor(key, _salt(n, fresh)) for n, key in keys.items() if n not in same}
        self._keys, self._cryptors = keys, {**same, **made}
        # One assignment: records that other threads seal have the old key or the new one.
        self._newest = self._cryptors[max(keys)]

    def encrypt(self, data: bytes, aad: bytes = b"") -> bytes:
        """Seal `data`; `aad` is not stored, but must be the same when it is opened."""
        return self._newest.encrypt(data, aad)

    def decrypt(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Open what was sealed with one of the keys; `DataLoss` where it cannot be."""
        number = self.key_of(sealed)
        cryptor = self._cryptors.get(number)
        if cryptor is None:
            raise DataLoss(f"a record is sealed with data key {number}, which this node lacks")
        return cryptor.decrypt(sealed, aad)

    def key_of(self, sealed: bytes) -> int:
        """The number of the key that a record is sealed with."""
        return int.from_bytes(sealed[:_NUMBER_BYTES], "big")


def _salt(number: int, fresh: bytes) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + fresh


def _derive(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, _LABEL + salt, "sha256"))
