"""Counting: what a majority of voters has, and how a vote stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum


class Tally(Enum):
    """How a vote stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority(count: int) -> int:
    """The smallest number of `count` voters that is more than half of them."""
    return count // 2 + 1


def reached(values: Iterable[int]) -> int:
    """The largest value that a majority has reached; one value for each voter; 0 for none."""
    ordered = sorted(values, reverse=True)
    return ordered[majority(len(ordered)) - 1] if ordered else 0


def tally(votes: Mapping[int, bool], voters: Iterable[int]) -> Tally:
    """The result so far; only votes of `voters` count, and each once."""
    heard = [votes.get(voter) for voter in voters]
    needed = majority(len(heard))
    if heard.count(True) >= needed:
        return Tally.WON
    if heard.count(False) > len(heard) - needed:
        return Tally.LOST
    return Tally.PENDING
