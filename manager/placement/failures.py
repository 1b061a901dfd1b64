"""Nodes on which a service keeps failing: they come last for its tasks, and lose theirs first.

Counted from the stored tasks alone, so that a new leader knows what the old one knew, and `task
explain` what the scheduler does.
"""

from __future__ import annotations

from typing import Final

from pyswarm.model import Task
from pyswarm.model.restart import FAILURES

FAILURES_MAX: Final = 5
FAILURE_SECONDS: Final = 300.0
"""A node on which this many tasks of one spec failed within this time comes last for that spec."""


def has_failed(task: Task) -> bool:
    """Whether the task counts against its node, as long as it is recent."""
    return task.status.state in FAILURES


def is_recent(failed_at: float, now: float) -> bool:
    """Whether a failure still counts; times in seconds since the epoch."""
    return now < forgiven_at(failed_at)


def forgiven_at(failed_at: float) -> float:
    """When a failure counts no more."""
    return failed_at + FAILURE_SECONDS
