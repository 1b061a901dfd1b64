"""The bytes of a node's own file: who it is, and every key that it has.

    open     private key | certificate | trusted roots | DATA KEYS
    sealed   SEALED KEYS | certificate | trusted roots

While the root is rotated, the cross-signed root follows the certificate.

The sealed block holds the private key and the data keys, as they stand in an open file, under the
swarm's unlock key. All is in one file since all of it changes together: a crash cannot leave one
key under the old unlock key and another under the new one.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from certs.keyring import NO_KEYS, KeyRing, decode_ring, encode_ring
from certs.seal import SALT_BYTES, Cryptor
from certs.unlock import OPEN, Lock, Locked, WrongUnlockKey
from certs.x509 import is_root
from pyswarm.errors import DataLoss

LOCKED: Final = (
    "Swarm is encrypted and needs to be unlocked before it can be used. "
    'Please use "pyswarm swarm unlock" to unlock it.'
)
ROTATED: Final = "; a manager that was down while the key was rotated opens with the one before"
_DATA: Final = b"PYSWARM DATA KEYS"
_SEALED: Final = b"PYSWARM SEALED KEYS"
_AAD: Final = b"pyswarm keys of a node 1"
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\n(.*?)-----END \1-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A node's keys and certificates; `lock` is what the file is sealed with."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    root_pem: bytes
    ring: KeyRing = NO_KEYS
    lock: Lock = OPEN


def encode(file: KeyFile, salt: bytes) -> bytes:
    """The file's content; `salt` are fresh random bytes."""
    parts = [part.strip() + b"\n" for part in (file.certificate_pem, file.root_pem)]
    private, data = file.key_pem.strip() + b"\n", _encode_data(file)
    if not file.lock.key:
        return b"".join((private, *parts, data))
    sealed = Cryptor(file.lock.key, salt).encrypt(private + data, _AAD)
    return b"".join((_block(_SEALED, base64.encodebytes(sealed)), *parts))


def decode(content: bytes, unlock_key: bytes = b"") -> KeyFile:
    """The reverse. Raises ValueError for other content, `Locked` where it is sealed and no key is
    given, and `WrongUnlockKey` where another one is."""
    blocks = _blocks(content)
    sealed = [body for label, body in blocks if label == _SEALED]
    if sealed:
        if len(sealed) != 1 or len(blocks) < 3:
            raise ValueError("it has other parts than sealed keys, certificate and root")
        opened = _blocks(_open(sealed[0], unlock_key))
        blocks = [opened[0], *(block for block in blocks if block[0] != _SEALED), *opened[1:]]
    data = [body for label, body in blocks if label == _DATA]
    rest = [_block(label, body) for label, body in blocks if label != _DATA]
    if len(data) > 1 or len(rest) < 3:
        raise ValueError("it is too short")
    ring, version = _decode_data(data[0]) if data else (NO_KEYS, 0)
    lock = Lock(unlock_key if sealed else b"", version)
    key, *certificates = rest
    chain = list(takewhile(lambda each: not is_root(each), certificates))
    return KeyFile(
        key_pem=key,
        certificate_pem=b"".join(chain),
        root_pem=b"".join(certificates[len(chain) :]),
        ring=ring,
        lock=lock,
    )


def _open(body: bytes, unlock_key: bytes) -> bytes:
    if not unlock_key:
        raise Locked(LOCKED)
    try:
        sealed = base64.b64decode(body)
    except binascii.Error as error:
        raise ValueError("its sealed keys are damaged") from error
    try:
        return Cryptor(unlock_key, bytes(SALT_BYTES)).decrypt(sealed, _AAD)
    except DataLoss:
        raise WrongUnlockKey(ROTATED) from None


def _encode_data(file: KeyFile) -> bytes:
    if not file.ring.keys and not file.lock.version:
        return b""
    return _block(_DATA, b"%d\n" % file.lock.version + encode_ring(file.ring))


def _decode_data(body: bytes) -> tuple[KeyRing, int]:
    version, _, keys = body.partition(b"\n")
    return decode_ring(keys), int(version)


def _block(label: bytes, body: bytes) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, body, label)


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(found[1], found[2]) for found in _BLOCK.finditer(content)]
