"""Statuses that wait for their common write; of each task the newest one counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyswarm.model import TaskStatus, is_terminal


def newer_status(old: TaskStatus, new: TaskStatus) -> bool:
    """Whether `new` may replace `old`: a state never goes back, and an end is final."""
    if is_terminal(old.state) or new.state < old.state:
        return False
    return new != old


@dataclass(slots=True)
class StatusBatch:
    """What came since the last write."""

    _updates: dict[str, TaskStatus] = field(default_factory=dict)

    def add(self, task_id: str, status: TaskStatus) -> None:
        """Take a status; one that is older than what waits is dropped."""
        waiting = self._updates.get(task_id)
        if waiting is None or newer_status(waiting, status):
            self._updates[task_id] = status

    def take(self) -> dict[str, TaskStatus]:
        """The updates to write now, by task id; the batch is empty after that."""
        updates, self._updates = self._updates, {}
        return updates
