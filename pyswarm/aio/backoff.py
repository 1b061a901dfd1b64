"""Exponential back-off with full jitter, so that a hundred clients do not return as one."""

from __future__ import annotations

import random


class Backoff:
    """Delays: uniform in [0, limit), the limit doubling from `first` to `most` seconds."""

    def __init__(self, first: float = 0.1, most: float = 8.0) -> None:
        self._first = first
        self._most = most
        self._limit = first

    def next(self) -> float:
        """The seconds to wait before the next try."""
        delay = random.uniform(0, self._limit)
        self._limit = min(self._limit * 2, self._most)
        return delay

    def reset(self) -> None:
        """Start again from the shortest delay: the last try succeeded."""
        self._limit = self._first
