"""What a scalar may be: durations, sizes, counts, flags, each read from its text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyswarm.compose.marked import Scalar

COUNT_MAX: Final = 2**31 - 1
BYTES_MAX: Final = 2**63 - 1
DURATION_SECONDS_MAX: Final = 9.2e9
"""About 292 years, where Go's durations end."""
CPUS_MAX: Final = 1_000_000

_WHOLE: Final = re.compile(r"[+-]?(0[xX][0-9a-fA-F]{1,16}|0[oO]?[0-7]{1,21}|[0-9]{1,19})")
_NUMBER: Final = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?")
_DURATION_PART: Final = re.compile(r"(\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(ns|us|µs|ms|s|m|h|d|w)")
_SIZE: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) ?([kKmMgGtTpP]?)(?:[iI]?[bB])?")
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}


def duration_seconds(text: str) -> float:
    """Seconds of `1m30s`, `1.5h`, `500ms`, `0`, in the syntax of Go; raises ValueError."""
    total, at = 0.0, 0
    while part := _DURATION_PART.match(text, at):
        total += float(part[1]) * _SECONDS[part[2]]
        at = part.end()
    if (at != len(text) or not text) and text != "0":
        raise ValueError(text)
    if total > DURATION_SECONDS_MAX:
        raise ValueError(text)
    # One rounding, so that 0.1s is the same number however it was written.
    return round(total, 9)


def size_bytes(text: str) -> int:
    """Bytes of `512M`, `1.5gb`, `64 KiB`, `1024`: multiples of 1024; raises ValueError."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(text)
    size = int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))
    if size > BYTES_MAX:
        raise ValueError(text)
    return size


def swap_bytes(text: str) -> int:
    """A size, or -1 for one without end; raises ValueError."""
    return -1 if text == "-1" else size_bytes(text)


def whole_number(text: str) -> int:
    """A whole number: decimal, 0x, 0o, or octal by a leading 0 as in YAML 1.1."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-").lower()
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if digits.startswith("0") and digits.strip("0"):
        return sign * int(digits.replace("o", ""), 8)
    return sign * int(digits.replace("o", ""))


def nano_cpus(text: str) -> int:
    """Billionths of a core of `0.5`; raises ValueError."""
    number = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not 0 <= number <= CPUS_MAX:
        raise ValueError(text)
    return round(number * 1e9)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scalar: its name for messages ("a whole number") and its reader, which raises
    ValueError where the text is not of the kind."""

    name: str
    read: Callable[[str], Scalar]


def _between(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = whole_number(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return read


def _ratio(text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError(text)
    return _FLAGS[text.lower()]


def _kept(check: Callable[[str], object]) -> Callable[[str], str]:
    """Checks the text and leaves it as written, so that the shown configuration is readable."""

    def read(text: str) -> str:
        check(text)
        return text

    return read


def choice(*names: str) -> Kind:
    """One of some words."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Kind(f"one of {', '.join(names)}", read)


TEXT: Final = Kind("text", str)
COUNT: Final = Kind("a whole number", _between(0, COUNT_MAX))
INTEGER: Final = Kind("a whole number", _between(-1, BYTES_MAX))
RATIO: Final = Kind("a number from 0 to 1", _ratio)
FLAG: Final = Kind("true or false", _flag)
PORT: Final = Kind("a port from 1 to 65535", _between(1, 65535))
PERCENT: Final = Kind("a whole number from 0 to 100", _between(0, 100))
OOM_SCORE: Final = Kind("a whole number from -1000 to 1000", _between(-1000, 1000))
MODE: Final = Kind("permission bits such as 0440", _between(0, 0o7777))
DURATION: Final = Kind("a duration such as 1m30s", _kept(duration_seconds))
SIZE: Final = Kind("a size such as 512M", _kept(size_bytes))
SWAP: Final = Kind("a size such as 512M, or -1", _kept(swap_bytes))
CPUS: Final = Kind("a number of cores such as 0.5", _kept(nano_cpus))


def on_partition(text: str) -> float:
    """ "keep" or "stop-after=30s" as seconds, 0 for keep; raises ValueError for anything else."""
    if text == "keep":
        return 0.0
    word, _, duration = text.partition("=")
    if word != "stop-after" or duration_seconds(duration) <= 0:
        raise ValueError(text)
    return duration_seconds(duration)
