"""Read, edit, store; all of it again where somebody else was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pyswarm.errors import SequenceConflict

Answer = TypeVar("Answer")

ATTEMPTS_MAX: Final = 5


async def in_sequence(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `attempt` answers, which reads a record and stores a change of it.

    The managers write to records too (how an update stands, what a node says of itself), so that a
    record often has a newer version than the one just read, without anybody's contradiction. Raises
    SequenceConflict where that goes on.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except SequenceConflict:
            continue
    return await attempt()
