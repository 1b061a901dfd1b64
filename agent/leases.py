"""Leases: how long a task may run on a node that has no contact to a manager. Pure.

A service with `stop_after_seconds` would rather have no task than two. Its tasks are stopped here
when no manager has answered for so long, and the managers start another one only after that.

A *contact* is the moment at which a report was sent that a manager has answered: the manager has
heard of the node then or later, so its own count ends later too. Times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pyswarm.core import NEVER
from pyswarm.model import Task

PROBES: Final = 4.0
"""Reports in the time of the shortest lease, so that one that is late ends no task."""


@dataclass(slots=True)
class Leases:
    """The leases of a node; `contact_at` is the last contact, of an earlier daemon too."""

    contact_at: float
    _held: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)
    """Task id -> the earliest moment that counts, and for how long."""

    def take(self, task: Task, since: float = 0.0) -> None:
        """A task is here. For a new one its arrival, `since`, counts as a contact: a manager that
        has sent it had heard of the node within the silence that marks a node as down."""
        if task.spec.stop_after_seconds:
            self._held[task.id] = (since, task.spec.stop_after_seconds)

    def drop(self, task_id: str) -> None:
        """A task has gone."""
        self._held.pop(task_id, None)

    def contact(self, at: float) -> None:
        """A manager has answered what was sent at `at`."""
        self.contact_at = max(self.contact_at, at)

    def over(self, now: float) -> dict[str, float]:
        """The tasks whose lease is over, each with its length."""
        return {
            task_id: seconds
            for task_id, (since, seconds) in sorted(self._held.items())
            if max(since, self.contact_at) + seconds <= now
        }

    def deadline(self) -> float:
        """When the next lease ends if no manager answers."""
        ends = (max(since, self.contact_at) + seconds for since, seconds in self._held.values())
        return min(ends, default=NEVER)

    @property
    def probe_seconds(self) -> float:
        """How often a manager must be asked; NEVER where no task has a lease."""
        return min((seconds for _, seconds in self._held.values()), default=NEVER) / PROBES
