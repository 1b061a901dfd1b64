"""Object ids: 25 characters of base 36, about 129 bits, made from supplied random bytes."""

from __future__ import annotations

from typing import Final

ID_LENGTH: Final = 25
ID_BYTES: Final = 17
"""Random bytes that `encode_id` needs (136 bits)."""

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = [first + second for first in _DIGITS for second in _DIGITS]


def base36(number: int, length: int) -> str:
    """`number` in base 36, exactly `length` digits, most significant first (wraps if larger)."""
    pairs = []
    for _ in range(0, length, 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-length:]


def encode_id(random_bytes: bytes) -> str:
    """An id from at least `ID_BYTES` random bytes; the caller brings the randomness."""
    assert len(random_bytes) >= ID_BYTES, f"{len(random_bytes)} bytes are too few for an id"
    return base36(int.from_bytes(random_bytes[:ID_BYTES], "big"), ID_LENGTH)


def is_id(text: str) -> bool:
    """Whether `text` has the shape of an id."""
    return len(text) == ID_LENGTH and all(c in _DIGITS for c in text)
