"""A manager's data keys, by number: the highest seals what is new, older ones open what is left.

A rotation goes through these steps, and after a crash between any two it goes on with the next:

    the ring has a new key, on disk  ─▶  log and snapshot are written again  ─▶  the ring drops
    the others that no file needs

So a ring of more than one key says that a rotation is under way, and nothing else has to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from certs.seal import KEY_BYTES, NUMBER_MAX


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys of 32 bytes by their numbers, from 1; empty before the node is a manager."""

    keys: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def current(self) -> int:
        """The number of the key for new records."""
        return max(self.keys, default=0)

    @property
    def rotating(self) -> bool:
        """Whether files may still need an older key."""
        return len(self.keys) > 1

    def rotated(self, key: bytes) -> KeyRing:
        """The ring with a fresh key that is current from now on. No number comes twice."""
        return KeyRing({**self.keys, self.current + 1: key})

    def keeping(self, numbers: Iterable[int]) -> KeyRing:
        """The ring without the keys that are neither current nor among `numbers`."""
        kept = {self.current, *numbers}
        return KeyRing({number: key for number, key in self.keys.items() if number in kept})


NO_KEYS: Final = KeyRing()


def encode_ring(ring: KeyRing) -> bytes:
    """One line for each key: its number, and the key in hexadecimal."""
    lines = (f"{number} {ring.keys[number].hex()}\n" for number in sorted(ring.keys))
    return "".join(lines).encode()


def decode_ring(data: bytes) -> KeyRing:
    """The reverse of `encode_ring`; ValueError for anything else."""
    keys: dict[int, bytes] = {}
    for line in data.decode("ascii").splitlines():
        number, _, text = line.partition(" ")
        key = bytes.fromhex(text)
        if not number.isdecimal() or not 0 < int(number) <= NUMBER_MAX or len(key) != KEY_BYTES:
            raise ValueError("a data key is damaged")
        keys[int(number)] = key
    return KeyRing(keys)
