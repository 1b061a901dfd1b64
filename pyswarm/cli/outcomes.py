"""How a wait for a service can end, and how long it goes on without any progress. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from pyswarm.cli.render import human_duration
from pyswarm.core import NEVER
from pyswarm.model import Service, UpdateState, UpdateStatus


class Outcome(IntEnum):
    """The exit codes of commands that wait; of several services the highest counts."""

    CONVERGED = 0
    FAILED = 1
    ROLLED_BACK = 3
    PAUSED = 4
    TIMED_OUT = 5


HELP: Final = (
    "exit codes of a command that waits: 0 converged, 1 refused or failed, 3 rolled back, "
    "4 the update is paused, 5 timed out (see --update-progress-deadline), 130 ended by Ctrl-C, "
    "which leaves the operation going"
)

MANAGERS_SECONDS: Final = 120.0
"""How long after its own deadline an update is waited for: its end is the managers' to say."""


def update_end(status: UpdateStatus, reason: str) -> tuple[Outcome, str] | None:
    """How an update has ended that did not come through, in Docker's words; None: it has not.

    `reason` is why it was rolled back, as it was said while that went on.
    """
    state = status.state
    if state.is_paused:
        word = "rollback" if state.is_rollback else "update"
        outcome = Outcome.TIMED_OUT if status.timed_out else Outcome.PAUSED
        return outcome, f"service {word} paused: {status.message}"
    if state == UpdateState.ROLLBACK_COMPLETED:
        return Outcome.ROLLED_BACK, f"service rolled back: {reason or status.message}"
    return None


class Patience:
    """Says when nothing has come forward for too long. Times are seconds on a monotonic scale.

    Tasks that fail again and again are no progress: only more running tasks than ever are, and
    what the managers say of the update.
    """

    def __init__(self, started: float | None) -> None:
        self._since = started
        self._seen: tuple[object, ...] = ()
        self._most = 0

    def note(self, service: Service, running: int, now: float) -> None:
        """Take what is seen now."""
        status = service.update_status
        seen = (service.spec_version, service.spec.replicas, status.state, status.progressed_at)
        if seen != self._seen:
            self._seen, self._most = seen, running
        elif running > self._most:
            self._most = running
        elif self._since is not None:
            return
        self._since = now

    def begin(self, now: float) -> None:
        """Count anew from here."""
        self._since = now

    def end(self, service: Service) -> float:
        """When the wait ends if nothing comes forward; the managers' own deadline goes first."""
        if self._since is None:
            return NEVER
        status = service.update_status
        config = service.spec.rollback if status.state.is_rollback else service.spec.update
        if not status.state.is_running:
            return self._since + config.deadline_seconds
        quiet = max(config.delay_seconds, config.monitor_seconds)
        stop = service.spec.task.container.stop_grace_period_seconds
        return self._since + config.deadline_seconds + quiet + stop + MANAGERS_SECONDS

    def problem(self, service: Service, errors: list[str]) -> str:
        """The sentence for a wait that has ended so; `errors` say what keeps tasks from running."""
        config = service.spec.update
        if service.update_status.state.is_rollback:
            config = service.spec.rollback
        period = human_duration(config.deadline_seconds).lower()
        why = f": {errors[0]}" if errors else ""
        return f"timed out: nothing has come forward for {period}{why}"
