"""Clocks that differ, in words."""

from __future__ import annotations

from typing import Final

SKEW_SECONDS: Final = 5.0
"""A clock that is further off is named. Far below what certificates tolerate; above what an answer
that took its time can feign."""


def skew(ahead_seconds: float) -> str:
    """ "90 s behind" or "90 s ahead of", to go before whose clock it is compared with; empty where
    the difference is none to speak of."""
    if abs(ahead_seconds) <= SKEW_SECONDS:
        return ""
    return f"{abs(ahead_seconds):.0f} s {'ahead of' if ahead_seconds > 0 else 'behind'}"
