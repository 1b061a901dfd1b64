"""The machine that tells the managers what became of the tasks.

The latest status of each task is kept until a manager has taken it, and all of them are told again
in a new session, since the manager that took them may have died before it committed them. A
status never goes back. Small changes wait a moment so that a hundred starts are one message; an
end is told at once. Steps on the way to a start, for which no manager waits, wait longer: one that
is passed in that time is never told, which spares the managers an entry of their log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pyswarm.core import NEVER
from pyswarm.model import TaskState, TaskStatus, is_terminal

BATCH_SECONDS: Final = 0.05
STEP_SECONDS: Final = 0.5
"""For so long a step that only people look at may wait: a start that is quicker is one status."""
STEPS: Final = frozenset({TaskState.ACCEPTED, TaskState.PREPARING, TaskState.STARTING})
BATCH_ITEMS_MAX: Final = 1000
"""Statuses in one message: about 200 KB, far below the 4 MiB of a gRPC message."""


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A task has a new status."""

    task_id: str
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class NetworksApplied:
    """The overlay runs these versions of the endpoint sets, by network id."""

    versions: dict[str, int]


@dataclass(frozen=True, slots=True)
class TaskForgotten:
    """The managers do not know the task any more."""

    task_id: str


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A new session: everything is told again."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The report in flight was taken."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline passed."""


Event = (
    StatusChanged
    | NetworksApplied
    | TaskForgotten
    | SessionOpened
    | SessionClosed
    | Delivered
    | Tick
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send one report: statuses and applied versions by id, sorted."""

    updates: tuple[tuple[str, TaskStatus], ...] = ()
    applied: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class ReporterMachine:
    """One report is in flight at most, so that the order of statuses is kept."""

    _latest: dict[str, TaskStatus] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)
    _unsent: set[str] = field(default_factory=set)
    _steps: set[str] = field(default_factory=set)
    """Those of the unsent that may wait."""
    _unsent_versions: set[str] = field(default_factory=set)
    _flying: Send | None = None
    _open: bool = False
    _due: float = NEVER
    _steps_due: float = NEVER

    def deadline(self) -> float:
        """When the batch that gathers is full of age."""
        due = min(self._due, self._steps_due)
        return due if self._open and self._flying is None else NEVER

    def handle(self, event: Event, now: float) -> list[Send]:
        """Take one event; answers the report to send, if one is due."""
        match event:
            case StatusChanged(task_id, status):
                self._changed(task_id, status, now)
            case NetworksApplied(versions):
                self._applied(versions, now)
            case TaskForgotten(task_id):
                self._latest.pop(task_id, None)
                self._unsent.discard(task_id)
                self._steps.discard(task_id)
            case SessionOpened():
                self._open, self._flying = True, None
                self._unsent, self._steps, self._steps_due = set(self._latest), set(), NEVER
                self._unsent_versions = set(self._versions)
                self._due = now if self._unsent or self._unsent_versions else NEVER
            case SessionClosed():
                # What was in flight is told again with everything else in the next session.
                self._open, self._flying = False, None
            case Delivered():
                self._flying = None
        return self._flush(now)

    def _changed(self, task_id: str, status: TaskStatus, now: float) -> None:
        known = self._latest.get(task_id)
        if known is not None and status.state < known.state:
            return
        self._latest[task_id] = status
        self._unsent.add(task_id)
        if status.state in STEPS:
            self._steps.add(task_id)
            self._steps_due = min(self._steps_due, now + STEP_SECONDS)
        else:
            self._steps.discard(task_id)
            wait = 0.0 if is_terminal(status.state) else BATCH_SECONDS
            self._due = min(self._due, now + wait)
        if len(self._unsent) >= BATCH_ITEMS_MAX:
            self._due = self._steps_due = now

    def _applied(self, versions: dict[str, int], now: float) -> None:
        changed = {key for key, value in versions.items() if self._versions.get(key) != value}
        self._unsent_versions = (self._unsent_versions | changed) & versions.keys()
        self._versions = dict(versions)
        if changed:
            self._due = min(self._due, now + BATCH_SECONDS)

    def _flush(self, now: float) -> list[Send]:
        if now < self.deadline():
            return []
        if now >= self._steps_due:
            self._steps, self._steps_due = set(), NEVER
        tasks = sorted(self._unsent - self._steps)[:BATCH_ITEMS_MAX]
        networks = sorted(self._unsent_versions)[:BATCH_ITEMS_MAX]
        self._unsent -= set(tasks)
        self._unsent_versions -= set(networks)
        left = self._unsent_versions or len(self._unsent) > len(self._steps)
        self._due = now if left else NEVER
        if not tasks and not networks:
            return []
        self._flying = Send(
            tuple((key, self._latest[key]) for key in tasks),
            tuple((key, self._versions[key]) for key in networks),
        )
        return [self._flying]

    def check(self) -> None:
        """Assert the invariants."""
        assert self._unsent <= self._latest.keys(), "an unsent status that nobody knows"
        assert self._steps <= self._unsent, "a status that was sent, and waits"
        assert not self._steps or self._steps_due < NEVER, "a step waits without an end"
        assert self._unsent_versions <= self._versions.keys(), "an unsent version nobody knows"
        waiting = bool(self._unsent - self._steps or self._unsent_versions)
        assert not (waiting and self._open) or self._due < NEVER, "a report waits without an end"
