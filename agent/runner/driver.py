"""One assigned task: feeds its machine, and has the executor do what the machine asks.

Steps of one task are done one after the other, in the order in which they were asked for; the
watch over its container and its health check go on beside them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from agent import health
from agent.reconcile import Seen
from agent.task import Phase, TaskMachine
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
from pyswarm.aio import Supervisor
from pyswarm.core import NEVER
from pyswarm.errors import SwarmError
from pyswarm.model import (
    Healthcheck,
    HealthResult,
    HealthState,
    Task,
    TaskHealth,
    TaskState,
    TaskStatus,
)

log = logging.getLogger(__name__)

TICK_MOST_SECONDS = 30.0
"""The longest sleep of the timer: a wall clock that is set forward is noticed so late at most."""


class Steps(Protocol):
    """What a runner has done for it. Every step may be repeated, and raises SwarmError."""

    async def prepare(self, task: Task) -> None:
        """Make everything up to the container."""

    async def start(self, task: Task) -> Seen:
        """Start the container."""
        ...

    async def find(self, task: Task) -> Seen | None:
        """The task's container as it is now."""
        ...

    async def wait(self, task: Task) -> Exited:
        """Until the container has ended; the overlay knows of the death before this returns."""
        ...

    async def drain(self, task: Task) -> None:
        """Let its host-mode ports take no new connection."""

    async def stop(self, task: Task, signal: str) -> None:
        """Send the stop signal."""

    async def kill(self, task: Task) -> None:
        """Send SIGKILL."""

    async def clean(self, task: Task) -> None:
        """Remove container, place in the networks and files."""

    async def remove(self, task: Task) -> None:
        """Remove the logs too."""

    async def healthcheck(self, task: Task) -> Healthcheck | None:
        """The service's health check, else the image's; None where there is none."""
        ...

    async def probe(self, task: Task, probe: health.Probe) -> HealthResult:
        """Run the check once."""
        ...


_STEPS = {
    Prepare: Step.PREPARE,
    Start: Step.START,
    Watch: Step.START,
    Drain: Step.DRAIN,
    Stop: Step.STOP,
    Kill: Step.KILL,
    Clean: Step.CLEAN,
    Remove: Step.REMOVE,
}


class TaskRunner:
    """`on_status(task, status)` is called for every report, `on_gone(id)` once at the end."""

    def __init__(
        self,
        task: Task,
        steps: Steps,
        *,
        ready: bool,
        on_status: Callable[[Task, TaskStatus], None],
        on_gone: Callable[[str], None],
    ) -> None:
        self.machine = TaskMachine(task, ready)
        self._steps = steps
        self._on_status = on_status
        self._on_gone = on_gone
        self._queue: asyncio.Queue[Command] = asyncio.Queue()
        self._current: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[Any] | None = None
        self._checking: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._supervisor = Supervisor(f"task {task.id[:12]}")

    @property
    def task(self) -> Task:
        """The task as it was last assigned."""
        return self.machine.task

    @property
    def is_up(self) -> bool:
        """Whether a container of the task is believed to run."""
        return self.machine.phase is Phase.UP

    def begin(self, found: Found | None) -> None:
        """Start to work, from the container that was found or from the beginning."""
        self._supervisor.start(self._work(), "steps")
        self.handle(Begin(found))

    def update(self, task: Task) -> None:
        """The managers changed their wish."""
        self.handle(Updated(task))

    def unassign(self) -> None:
        """The managers forgot the task."""
        self.handle(Unassigned())

    def dependencies_ready(self) -> None:
        """Secrets and configs are here."""
        self.handle(DependenciesReady())

    def lost(self) -> None:
        """The container is not there any more, and nobody told."""
        if self.is_up:
            self.handle(Exited(137, "its container is gone"))

    def lease_over(self, seconds: float) -> None:
        """No manager has answered for so long, and the task may not run without one."""
        self.handle(LeaseOver(f"task: no contact with a manager for {seconds:g} s"))

    async def close(self) -> None:
        """Stop caring; the container goes on."""
        if self._timer is not None:
            self._timer.cancel()
        await self._supervisor.close()

    # ---- the machine ----

    def handle(self, event: Event) -> None:
        """Give the machine one event, and start what it asks for."""
        for command in self.machine.handle(event, time.time()):
            match command:
                case Report(status):
                    self._on_status(self.task, status)
                case Cancel():
                    self._break_off()
                case _:
                    self._queue.put_nowait(command)
        self._arm()
        if self.machine.phase is not Phase.UP and self._checking is not None:
            self._checking.cancel()
            self._checking = None
        if self.machine.phase is Phase.GONE:
            self._on_gone(self.task.id)
            self._supervisor.start(self.close(), "end")

    def _break_off(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
        if self._current is not None:
            self._current.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.machine.deadline()
        if due != NEVER:
            wait = min(max(due - time.time(), 0.0), TICK_MOST_SECONDS)
            # The machine compares with its deadline: a tick that comes too early only arms again.
            self._timer = asyncio.get_running_loop().call_later(wait + 0.001, self.handle, Tick())

    # ---- the steps ----

    async def _work(self) -> None:
        while True:
            command = await self._queue.get()
            self._current = self._supervisor.start(self._perform(command), "step")
            await asyncio.wait([self._current])
            self._current = None

    async def _perform(self, command: Command) -> None:
        try:
            event = await self._do(command)
        except SwarmError as error:
            event = Failed(_STEPS[type(command)], error.message, error.temporary)
            log.warning("task %s: %s: %s", self.task.name, event.step.value, error.message)
        except Exception as error:
            log.exception("task %s: %s failed", self.task.name, type(command).__name__)
            event = Failed(_STEPS[type(command)], f"internal error: {error!r}", False)
        if event is not None:
            self.handle(event)

    async def _do(self, command: Command) -> Event | None:
        task = self.task
        match command:
            case Prepare():
                await self._steps.prepare(task)
                return Prepared()
            case Start():
                return await self._up(await self._steps.start(task))
            case Watch():
                return await self._up(await self._steps.find(task))
            case Drain():
                await self._steps.drain(task)
            case Stop(signal):
                await self._steps.stop(task, signal)
            case Kill():
                await self._steps.kill(task)
            case Clean():
                await self._steps.clean(task)
                return Cleaned()
            case Remove():
                await self._steps.remove(task)
                return Removed()
        return None

    async def _up(self, seen: Seen | None) -> Event:
        check = await self._steps.healthcheck(self.task)
        has_check = check is not None and health.is_check(check)
        if seen is None or seen.exit_code is not None:
            # It ended between the look and now; the watch would tell, but knows no container.
            self.handle(Started("", 0))
            return Exited(137 if seen is None else seen.exit_code or 0)
        self._watching = self._supervisor.start(self._watch(), "watch")
        if check is not None and has_check:
            work = self._check_health(health.HealthMachine(check, _known(self.machine.status)))
            self._checking = self._supervisor.start(work, "health")
        return Started(seen.container_id, seen.pid, has_check)

    async def _watch(self) -> None:
        self.handle(await self._steps.wait(self.task))

    async def _check_health(self, machine: health.HealthMachine) -> None:
        answers = machine.handle(health.Started(), time.monotonic())
        while True:
            for answer in answers:
                match answer:
                    case TaskHealth():
                        self.handle(Checked(answer))
                    case health.Probe():
                        probed = health.Probed(await self._steps.probe(self.task, answer))
                        answers = machine.handle(probed, time.monotonic())
                        break
            else:
                if machine.deadline() == NEVER:
                    return
                await asyncio.sleep(max(machine.deadline() - time.monotonic(), 0.0))
                answers = machine.handle(health.Tick(), time.monotonic())


def _known(status: TaskStatus) -> TaskHealth:
    """What was last said of the container's health; one that was RUNNING has been healthy."""
    running = status.state == TaskState.RUNNING
    state = HealthState.HEALTHY if running else HealthState.STARTING
    return status.health or TaskHealth(state=state)
