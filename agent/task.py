"""The machine of one task: from ASSIGNED to its end, one step at a time.

Events say what happened in the world, commands say what shall happen next; the machine itself
knows no container and no clock. The state that is reported never goes back, and the desired state
never does either, so a lost, late or doubled event cannot revive a task.

Times are seconds since the epoch, since they are compared with `Task.start_after` and become the
timestamps of statuses; a clock that is set back delays a retry, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from agent.health import unhealthy_error
from agent.task_events import (
    Begin,
    Cancel,
    Checked,
    Clean,
    Cleaned,
    Command,
    DependenciesReady,
    Drain,
    Event,
    Exited,
    Failed,
    Found,
    Kill,
    LeaseOver,
    Prepare,
    Prepared,
    Remove,
    Removed,
    Report,
    Start,
    Started,
    Step,
    Stop,
    Tick,
    Unassigned,
    Updated,
    Watch,
)
from pyswarm.core import NEVER
from pyswarm.model import HealthState, Task, TaskState, TaskStatus, is_terminal

RETRY_FIRST_SECONDS: Final = 1.0
RETRY_MOST_SECONDS: Final = 8.0
TRIES_MAX: Final = 8
"""Temporary failures of one step before the task is given up, about 40 s: longer, and a node whose
registry or containerd is gone would hold tasks that another node could run."""

DRAIN_SECONDS: Final = 0.3
"""Between the wish to stop and the signal. When the wish comes, nobody begins a connection to the
task any more (`manager/dispatcher/draining.py`); those that were under way still reach it, and it
can take them from its backlog."""

UNHEALTHY_DRAIN_SECONDS: Final = 1.0
"""The same for an unhealthy task, of which the managers and the other nodes hear only now."""

KILL_AGAIN_SECONDS: Final = 10.0
"""A SIGKILL whose container did not end is sent again: the first may have been lost with a
restart of containerd."""

DEFAULT_STOP_SIGNAL: Final = "SIGTERM"


class Phase(Enum):
    """What the machine waits for; finer than the state that is reported."""

    NEW = "new"
    WAITING = "waiting"  # for dependencies, or for the next try to prepare
    PREPARING = "preparing"
    PREPARED = "prepared"  # for the desired state, the start time, or the next try to start
    STARTING = "starting"
    UP = "up"  # the container runs; RUNNING is reported once it is healthy
    DRAINING = "draining"
    STOPPING = "stopping"
    CLEANING = "cleaning"
    ENDED = "ended"  # only the logs are left
    REMOVING = "removing"
    GONE = "gone"


_IN_CONTAINER: Final = frozenset({Phase.UP, Phase.DRAINING, Phase.STOPPING})
_BEFORE_START: Final = frozenset({Phase.WAITING, Phase.PREPARING, Phase.PREPARED})


@dataclass(slots=True)
class TaskMachine:
    """`task.status` is where it stands: ASSIGNED for a new one, the last one after a restart."""

    task: Task
    ready: bool = False
    """Whether the secrets and configs are here."""
    phase: Phase = field(default=Phase.NEW, init=False)
    status: TaskStatus = field(init=False)
    _tries: int = field(default=0, init=False)
    _due: float = field(default=NEVER, init=False)
    _retry_at: float = field(default=0.0, init=False)
    _begun_at: float = field(default=0.0, init=False)
    _unassigned: bool = field(default=False, init=False)
    _adopting: bool = field(default=False, init=False)
    _unhealthy: bool = field(default=False, init=False)
    """The container is being stopped although it is wanted."""
    _lease_over: str = field(default="", init=False)
    """So is it, and why."""

    def __post_init__(self) -> None:
        self.status = self.task.status

    @property
    def wanted(self) -> bool:
        """Whether the managers want it to run, now or later."""
        return not self._unassigned and self.task.desired_state < TaskState.SHUTDOWN

    @property
    def start_at(self) -> float:
        """When it may start: no later than its restart delay after it came, however far apart the
        clocks of this node and its manager are."""
        return min(self.task.start_after, self._begun_at + self.task.spec.restart.delay_seconds)

    def deadline(self) -> float:
        """When the machine wants its next tick."""
        return self._due

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; answers the commands that it causes, in order."""
        if self.phase is Phase.GONE:
            return []
        match event:
            case Begin(found):
                return self._begin(found, now)
            case Updated(task):
                desired = max(self.task.desired_state, task.desired_state)
                self.task = replace(task, desired_state=desired, status=self.status)
                return self._go_on(now)
            case Unassigned():
                self._unassigned = True
                return self._go_on(now)
            case DependenciesReady():
                self.ready = True
                return self._go_on(now)
            case Prepared() if self.phase is Phase.PREPARING:
                return self._prepared(now)
            case Started() if self.phase is Phase.STARTING:
                return self._started(event, now)
            case Checked() if self.phase is Phase.UP:
                return self._checked(event, now)
            case LeaseOver(reason) if self.wanted:
                self._lease_over = reason
                return self._go_on(now)
            case Exited() if self.phase in _IN_CONTAINER:
                return self._exited(event, now)
            case Failed():
                return self._failed(event, now)
            case Cleaned() if self.phase is Phase.CLEANING:
                self._enter(Phase.ENDED)
                return self._go_on(now)
            case Removed() if self.phase is Phase.REMOVING:
                self._enter(Phase.GONE)
                return []
            case Tick() if now >= self._due:
                return self._tick(now)
        return []

    def _enter(self, phase: Phase, due: float = NEVER) -> None:
        self.phase, self._due = phase, due

    def _report(
        self, state: TaskState, message: str, now: float, error: str = "", exit_code: int = 0
    ) -> Report:
        """The new status; a state that would be a step back leaves the old one."""
        self.status = replace(
            self.status,
            state=max(self.status.state, state),
            timestamp=now,
            message=message,
            error=error,
            exit_code=exit_code,
            pid=0 if is_terminal(state) else self.status.pid,
            ports=self.task.ports if state == TaskState.RUNNING else (),
        )
        return Report(self.status)

    def _begin(self, found: Found | None, now: float) -> list[Command]:
        assert self.phase is Phase.NEW, f"task {self.task.id} began twice"
        self._begun_at = now
        if is_terminal(self.status.state):
            self._enter(Phase.CLEANING if found else Phase.ENDED)
            return [Clean()] if found else self._go_on(now)
        if found is not None:
            return self._adopt(found, now)
        if self.status.state >= TaskState.STARTING:
            error = "task: its container is gone: the node was restarted or somebody removed it"
            state = TaskState.FAILED if self.wanted else TaskState.SHUTDOWN
            return self._end(state, "lost", now, error if self.wanted else "")
        self._enter(Phase.WAITING)
        if not self.wanted:
            return self._go_on(now)
        report = self._report(max(self.status.state, TaskState.ACCEPTED), "accepted", now)
        return [report, *self._go_on(now)]

    def _adopt(self, found: Found, now: float) -> list[Command]:
        self.status = replace(self.status, container_id=found.container_id, pid=found.pid)
        if found.exit_code is not None:
            return self._exited(Exited(found.exit_code), now)
        self._adopting = True
        self._enter(Phase.STARTING)
        return [Watch()]

    def _go_on(self, now: float) -> list[Command]:
        """Do what the wish, the dependencies and the time allow in this phase."""
        if self.phase is Phase.ENDED and self._unassigned:
            self._enter(Phase.REMOVING)
            return [Remove()]
        if not self.wanted:
            return self._unwanted(now)
        if self._lease_over:
            return self._broken_off(now)
        if self.phase is Phase.WAITING and self.ready:
            if now < self._retry_at:
                self._due = self._retry_at
                return []
            self._enter(Phase.PREPARING)
            return [self._report(TaskState.PREPARING, "preparing", now), Prepare()]
        if self.phase is Phase.PREPARED and self.task.desired_state >= TaskState.RUNNING:
            start_at = max(self.start_at, self._retry_at)
            if now < start_at:
                self._due = start_at
                return []
            self._enter(Phase.STARTING)
            return [self._report(TaskState.STARTING, "starting", now), Start()]
        return []

    def _unwanted(self, now: float) -> list[Command]:
        if self.phase in _BEFORE_START:
            cancel: list[Command] = [Cancel()] if self.phase is Phase.PREPARING else []
            return cancel + self._end(TaskState.SHUTDOWN, "shutdown", now)
        if self.phase is Phase.UP:
            return self._drain(now)
        # A start in flight is short: its outcome comes first, and then it is stopped.
        return []

    def _broken_off(self, now: float) -> list[Command]:
        """It is wanted, and may not go on."""
        if self.phase in _BEFORE_START:
            cancel: list[Command] = [Cancel()] if self.phase is Phase.PREPARING else []
            return cancel + self._end(TaskState.FAILED, "stopped", now, self._lease_over)
        return self._stop(now) if self.phase is Phase.UP else []

    def _prepared(self, now: float) -> list[Command]:
        self._tries, self._retry_at = 0, 0.0
        self._enter(Phase.PREPARED)
        return [self._report(TaskState.READY, "prepared", now), *self._go_on(now)]

    def _started(self, event: Started, now: float) -> list[Command]:
        self._tries = 0
        self._enter(Phase.UP)
        self.status = replace(self.status, container_id=event.container_id, pid=event.pid)
        if self.status.state >= TaskState.RUNNING:
            return self._go_on(now)  # Adopted: the managers know that it runs.
        if event.has_healthcheck:
            report = self._report(TaskState.STARTING, "waiting until it is healthy", now)
        else:
            report = self._report(TaskState.RUNNING, "started", now)
        return [report, *self._go_on(now)]

    def _checked(self, event: Checked, now: float) -> list[Command]:
        self.status = replace(self.status, health=event.health)
        match event.health.state:
            case HealthState.HEALTHY if self.status.state < TaskState.RUNNING:
                return [self._report(TaskState.RUNNING, "started", now)]
            case HealthState.UNHEALTHY:
                self._unhealthy = True
                return [Report(self.status), *self._drain(now)]
        return [Report(self.status)]

    def _drain(self, now: float) -> list[Command]:
        """Stop, after the moment in which the last connections come in."""
        reached = self.task.networks or self.task.ports
        if not reached or self.status.state < TaskState.RUNNING:
            return self._stop(now)
        seconds = UNHEALTHY_DRAIN_SECONDS if self._unhealthy else DRAIN_SECONDS
        self._enter(Phase.DRAINING, now + seconds)
        return [Drain()] if self.task.ports else []

    def _stop(self, now: float) -> list[Command]:
        container = self.task.spec.container
        self._enter(Phase.STOPPING, now + container.stop_grace_period_seconds)
        return [Stop(container.stop_signal)]

    def _exited(self, event: Exited, now: float) -> list[Command]:
        code = event.exit_code
        if not self.wanted:
            return self._end(TaskState.SHUTDOWN, "shutdown", now, exit_code=code)
        if self._unhealthy and self.status.health is not None:
            error = unhealthy_error(code, self.status.health)
            return self._end(TaskState.FAILED, "unhealthy", now, error, code)
        if self._lease_over:
            return self._end(TaskState.FAILED, "stopped", now, self._lease_over, code)
        if code == 0:
            return self._end(TaskState.COMPLETE, "finished", now)
        error = f"task: non-zero exit ({code})"
        if event.reason:
            error += f": {event.reason}"
        return self._end(TaskState.FAILED, "started", now, error, code)

    def _end(
        self, state: TaskState, message: str, now: float, error: str = "", exit_code: int = 0
    ) -> list[Command]:
        report = self._report(state, message, now, error, exit_code)
        self._tries = 0
        self._enter(Phase.CLEANING)
        return [report, Clean()]

    def _failed(self, event: Failed, now: float) -> list[Command]:
        match (event.step, self.phase):
            case (Step.PREPARE, Phase.PREPARING):
                again = Phase.WAITING
            case (Step.START, Phase.STARTING) if self._adopting:
                # The container runs, only the look at it failed: to start it would be wrong.
                self._due = now + self._delay()
                return []
            case (Step.START, Phase.STARTING):
                again = Phase.PREPARED
            case (Step.STOP, Phase.STOPPING):
                # The grace goes on, and the kill comes after it.
                return []
            case (Step.KILL, Phase.STOPPING):
                self._due = now + RETRY_FIRST_SECONDS
                return []
            case (Step.CLEAN, Phase.CLEANING) | (Step.REMOVE, Phase.REMOVING):
                # What is left behind would hold an address or a port: this is tried for ever.
                self._due = now + self._delay()
                return []
            case _:
                return []
        if not self.wanted:
            return self._end(TaskState.SHUTDOWN, "shutdown", now)
        if event.temporary and self._tries + 1 < TRIES_MAX:
            self._retry_at = now + self._delay()
            self._enter(again, self._retry_at)
            return [self._report(self.status.state, "trying again", now, event.error)]
        state = TaskState.REJECTED if event.step is Step.PREPARE else TaskState.FAILED
        return self._end(state, event.step.value, now, event.error)

    def _delay(self) -> float:
        self._tries += 1
        doubled: float = RETRY_FIRST_SECONDS * 2 ** min(self._tries - 1, 10)
        return min(doubled, RETRY_MOST_SECONDS)

    def _tick(self, now: float) -> list[Command]:
        self._due = NEVER
        match self.phase:
            case Phase.WAITING | Phase.PREPARED:
                return self._go_on(now)
            case Phase.STARTING:
                return [Watch()]
            case Phase.DRAINING:
                return self._stop(now)
            case Phase.STOPPING:
                self._due = now + KILL_AGAIN_SECONDS
                return [Kill()]
            case Phase.CLEANING:
                return [Clean()]
            case Phase.REMOVING:
                return [Remove()]
        return []

    def check(self) -> None:
        """Assert the invariants."""
        state, phase, name = self.status.state, self.phase, self.task.id
        ended = phase in (Phase.CLEANING, Phase.ENDED, Phase.REMOVING, Phase.GONE)
        assert ended == is_terminal(state) or phase is Phase.NEW, f"{name}: {phase} but {state!r}"
        if state == TaskState.RUNNING and phase not in (Phase.NEW, Phase.STARTING):
            assert phase in _IN_CONTAINER, f"{name}: {phase} is not running"
        if phase in (Phase.DRAINING, Phase.STOPPING):
            assert self._due < NEVER, f"{name}: {phase} without an end"
        assert not self.status.error or state != TaskState.RUNNING, f"{name} runs with an error"
