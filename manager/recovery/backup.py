"""The bytes of a backup file: a header in the clear, then sealed frames. Pure.

    file    = header, frame*                            numbers are big endian
    header  = "pyswarm backup\n", version u8, cost u8, salt (16)
    frame   = last u1 | length u31, sealed payload      AES-256-GCM
    payload = the manifest (JSON) in the first frame, pieces of the state in the others

The key comes from the passphrase (scrypt, 2^cost rounds) and a salt that is fresh for each file, so
the nonce is the frame's number and whether it is the last one. Header and length are bound to each
frame. So a frame that is missing, moved, repeated, changed or of another file is found, and so is
an end that comes too early or too late.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from manager.raft.membership import Membership, decode_membership, encode_membership
from pyswarm.errors import DataLoss, InvalidArgument

MAGIC: Final = b"pyswarm backup\n"
VERSION: Final = 1
SALT_BYTES: Final = 16
PIECE_BYTES: Final = 1 << 20
COST: Final = 17
"""128 MiB and about half a second for each guess at the passphrase."""
COSTS: Final = range(10, 19)
PASSPHRASE_LENGTH_LEAST: Final = 8

_HEADER: Final = struct.Struct(f">{len(MAGIC)}sBB{SALT_BYTES}s")
_LENGTH: Final = struct.Struct(">I")
_NONCE: Final = struct.Struct(">Q3xB")
_LAST: Final = 1 << 31
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""

Read = Callable[[int], bytes]
"""The next bytes of a file, at most as many as asked for; fewer only at its end."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is needed to make the key of a file."""

    cost: int
    salt: bytes

    def encode(self) -> bytes:
        """The first bytes of the file."""
        return _HEADER.pack(MAGIC, VERSION, self.cost, self.salt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds. `index` and `term` are the place in the log at which it was taken,
    `created_at` seconds since the epoch, `counts` how many records of each kind. Without the root's
    key, which an external CA may have alone, nothing can be restored."""

    created_at: float
    pyswarm_version: str
    cluster_id: str
    node_id: str
    hostname: str
    index: int
    term: int
    membership: Membership
    state_bytes: int
    counts: Mapping[str, int]
    root_key: bool = True


def encode_manifest(manifest: Manifest) -> bytes:
    """The payload of the first frame."""
    fields = asdict(manifest) | {"membership": encode_membership(manifest.membership).decode()}
    return json.dumps(fields).encode()


def decode_manifest(data: bytes) -> Manifest:
    """The reverse; raises DataLoss."""
    try:
        fields = json.loads(data)
        names = Manifest.__dataclass_fields__
        known = {name: value for name, value in fields.items() if name in names}
        known["membership"] = decode_membership(known["membership"].encode())
        manifest = Manifest(**known)
        _check(manifest)
        return manifest
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataLoss("the backup does not say what it holds: it cannot be used") from error


def _check(manifest: Manifest) -> None:
    """ValueError where a field is not what its annotation says, or no time of a calendar."""
    numbers = (manifest.index, manifest.term, manifest.state_bytes, *manifest.counts.values())
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a number is not one")
    texts = (manifest.pyswarm_version, manifest.cluster_id, manifest.node_id, manifest.hostname)
    if not all(isinstance(each, str) for each in texts) or type(manifest.root_key) is not bool:
        raise ValueError("a text is not one")
    if not 0 <= manifest.created_at <= _LATEST:
        raise ValueError("it was taken at no time")


def new_key(passphrase: bytes, header: Header) -> bytes:
    """The key of a file; takes as long as `header.cost` says."""
    if len(passphrase) < PASSPHRASE_LENGTH_LEAST:
        raise InvalidArgument(
            f"the passphrase of a backup has at least {PASSPHRASE_LENGTH_LEAST} characters: "
            "the root key and all secrets of the swarm lie behind it"
        )
    kdf = Scrypt(salt=header.salt, length=_KEY_BYTES, n=1 << header.cost, r=8, p=1)
    return kdf.derive(passphrase)


class Sealer:
    """Makes the frames of one file, in order."""

    def __init__(self, key: bytes, header: Header) -> None:
        self._cipher = AESGCM(key)
        self._header = header.encode()
        self._number = 0

    def frame(self, payload: bytes, *, last: bool = False) -> bytes:
        """The next frame; `payload` has at most PIECE_BYTES."""
        assert len(payload) <= PIECE_BYTES, f"a piece of {len(payload)} bytes"
        head = _LENGTH.pack(len(payload) + _TAG_BYTES | (_LAST if last else 0))
        nonce = _NONCE.pack(self._number, last)
        self._number += 1
        return head + self._cipher.encrypt(nonce, payload, self._header + head)


def read_header(read: Read) -> Header:
    """Take the header off a file; raises DataLoss where it is none, or of a later version."""
    data = read(_HEADER.size)
    if not data.startswith(MAGIC) or len(data) < _HEADER.size:
        raise DataLoss("this file is not a backup of a pyswarm swarm, or it is damaged")
    _, version, cost, salt = _HEADER.unpack(data)
    if version != VERSION or cost not in COSTS:
        raise DataLoss(
            f"this backup has format {version}.{cost}, which this version of pyswarm "
            "cannot read, or it is damaged"
        )
    return Header(cost, salt)


def read_frames(read: Read, key: bytes, header: Header) -> Iterator[bytes]:
    """The payloads behind the header, the manifest first; memory is bounded by one piece.

    Raises DataLoss at the first byte that is not as it was written, at an end that comes too early,
    and at bytes behind the end. What was answered before counts only once the iterator has ended.
    """
    cipher, bound, number, last = AESGCM(key), header.encode(), 0, False
    while not last:
        head = read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise DataLoss("the backup is cut off: its end is missing")
        (word,) = _LENGTH.unpack(head)
        last, length = bool(word & _LAST), word & ~_LAST
        if not _TAG_BYTES <= length <= PIECE_BYTES + _TAG_BYTES:
            raise _unreadable(number)
        body = read(length)
        if len(body) < length:
            raise DataLoss("the backup is cut off: its end is missing")
        try:
            yield cipher.decrypt(_NONCE.pack(number, last), body, bound + head)
        except InvalidTag as error:
            raise _unreadable(number) from error
        number += 1
    if read(1):
        raise DataLoss("the backup goes on behind its end: it is damaged")


def _unreadable(number: int) -> DataLoss:
    if number == 0:
        return DataLoss("the backup cannot be opened: the passphrase is wrong, or it is damaged")
    return DataLoss(f"the backup is damaged in its piece {number}: use another one")
