"""A small seeded fuzzer: strange bytes made from good ones, and what a reader may do with them."""

from __future__ import annotations

import hashlib
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
INPUT_BYTES_MAX = 64 << 10
SECONDS_MAX = 5.0
"""For one input; far above what is usual, since the machine may be busy."""
MEMORY_BYTES_MAX = 256 << 20
"""By which one input may raise the peak of the process."""

EDGES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


@dataclass(frozen=True)
class Target:
    """`read` takes bytes: it returns, or raises one of `refusals`. `seeds` are good inputs, `words`
    are pieces of the format, to be put anywhere."""

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


class Broken(Exception):
    """A target did what it must not; the message says what, the cause is the error."""


def _place(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _once(chance: random.Random, data: bytearray, target: Target) -> None:
    at = _place(chance, data)
    match chance.randrange(8):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1 if data:
            data[at % len(data)] = chance.randrange(256)
        case 2:
            del data[at : at + chance.choice((1, 2, 4, 8, 64, 1 << 20))]
        case 3:
            number = chance.choice(EDGES)
            width = chance.choice((1, 2, 4, 8))
            order = chance.choice(("little", "big"))
            written = (number & ((1 << 8 * width) - 1)).to_bytes(width, order)
            data[at : at + width * chance.randrange(2)] = written
        case 4:
            other = chance.choice(target.seeds)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + chance.choice((4, 16, 64, 512))]
        case 5:
            end = min(len(data), at + chance.choice((1, 4, 16, 64)))
            data[at:at] = data[at:end] * chance.choice((1, 2, 16, 256))
        case 6 if target.words:
            data[at:at] = chance.choice(target.words) * chance.choice((1, 1, 1, 2, 1000))
        case _:
            data[at:at] = chance.randbytes(chance.choice((1, 3, 9)))


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """Endless; the same for the same seed."""
    chance = random.Random(f"{target.name} {seed}")
    yield from target.seeds
    yield b""
    while True:
        data = bytearray(chance.choice(target.seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            _once(chance, data, target)
        yield bytes(data[:INPUT_BYTES_MAX])


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {SECONDS_MAX:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def check(target: Target, data: bytes) -> None:
    """Give one input to the target; raises Broken where it fails what it promises."""
    before = _peak_bytes()
    try:
        with _alarm():
            target.read(data)
    except target.refusals:
        pass
    except Exception as error:
        raise Broken(f"{target.name} raised {type(error).__name__}: {error}") from error
    if _peak_bytes() - before > MEMORY_BYTES_MAX:
        raise Broken(f"{target.name} took {(_peak_bytes() - before) >> 20} MiB")


def run(target: Target, seconds: float, seed: int) -> int:
    """Try inputs for that long; answers how many. A failing one is kept in the corpus."""
    end = time.monotonic() + seconds
    count = 0
    for count, data in enumerate(inputs(target, seed), 1):
        try:
            check(target, data)
        except Broken as error:
            path = keep(target, data)
            error.add_note(f"input {count} of seed {seed}, kept as {path}")
            raise
        if time.monotonic() > end:
            break
    return count


def keep(target: Target, data: bytes) -> Path:
    """Write an input into the corpus."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def kept(target: Target) -> list[Path]:
    """The inputs that failed once."""
    folder = CORPUS / target.name
    return sorted(folder.iterdir()) if folder.is_dir() else []
