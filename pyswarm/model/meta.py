"""What every stored object carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """`version` is the raft index of the last change; times are seconds since the epoch."""

    version: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
