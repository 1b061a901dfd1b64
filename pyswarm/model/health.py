"""Health checks: what is asked of a container, and what it answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class HealthState(IntEnum):
    """What a container's check has said; STARTING: it never passed so far."""

    NONE = 0
    STARTING = 1
    HEALTHY = 2
    UNHEALTHY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthResult:
    """One run of a check: times since the epoch; exit code -1 where the program did not end by
    itself; the output is cut."""

    started_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHealth:
    """The failures in a row, and the last results, the newest last."""

    state: HealthState = HealthState.NONE
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()
