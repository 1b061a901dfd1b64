"""How far a service has come to what was asked: a machine that says when it is there. Pure.

    tasks and update status ──> Progress ──> Convergence ──> lines ──> terminal or plain text
                                             (WORKING, VERIFYING, CONVERGED, FAILED)

A service has converged when every slot has run its newest specification for the monitor period
(Docker: 5 s), or as soon as the managers call the update complete, since they have monitored it. A
slot whose task has ended well and is not restarted is done; one that is given up after a failure,
or whose tasks end one after the other, fails the wait, and sooner where a node rejects them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Final

from pyswarm.cli.outcomes import Outcome, Patience, update_end
from pyswarm.cli.render import clean, human_duration, natural_key
from pyswarm.core import NEVER
from pyswarm.model import (
    PublishMode,
    Service,
    Task,
    TaskState,
    UpdateState,
    UpdateStatus,
    is_completion,
    is_terminal,
)
from pyswarm.model.restart import FAILURES, is_given_up

SLOTS_SHOWN_MAX: Final = 20
ERROR_LENGTH_MAX: Final = 75

ENDS_MAX: Final = 5
"""A slot whose tasks end so often in a row is not waited for any longer."""

REJECTIONS_MAX: Final = 2
"""What a node has rejected so often in a row, in the same words, it will reject again: an agent
tries what may be a matter of time several times before it rejects a task."""

UNMADE_SECONDS: Final = 2.0
"""A global service without any task may be one whose tasks the managers have yet to make."""

_BAR_WIDTH: Final = 40
_STATES: Final = (
    TaskState.NEW,
    TaskState.PENDING,
    TaskState.ASSIGNED,
    TaskState.ACCEPTED,
    TaskState.PREPARING,
    TaskState.READY,
    TaskState.STARTING,
    TaskState.RUNNING,
)


@dataclass(frozen=True, slots=True)
class SlotProgress:
    """One slot: its label ("1/3" or a node's name), its task's state, and what went wrong in it.

    `state` is None while the slot has no task of the newest specification. `final`: no other task
    follows in it. `ends` are the tasks in a row that ended before
    its present one, soon after they began.
    """

    label: str
    state: TaskState | None = None
    error: str = ""
    final: bool = False
    ends: int = 0
    rejected_by: str = ""
    """The node that will not have its tasks."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A service seen once."""

    running: int
    wanted: int
    slots: tuple[SlotProgress, ...] = ()
    outdated: int = 0
    """Tasks of an older specification that still shall run."""

    @property
    def finished(self) -> int:
        """Slots whose task has ended well, and is not followed by another."""
        return sum(slot.final and slot.state == TaskState.COMPLETE for slot in self.slots)

    @property
    def given_up(self) -> SlotProgress | None:
        """A slot in which nothing runs and nothing will, since its task failed."""
        lost = (s for s in self.slots if s.final and s.state != TaskState.COMPLETE)
        return next(lost, None)

    @property
    def complete(self) -> bool:
        """Whether everything that is wanted runs, or has done its work."""
        return self.running + self.finished >= self.wanted


def measure(service: Service, tasks: Iterable[Task], node_names: dict[str, str]) -> Progress:
    """The progress of a service, from its tasks (those of others are left out).

    `node_names` are the nodes that are up: a task on any other does not count as running.
    """
    by_slot: dict[int | str, list[Task]] = {}
    outdated: list[int] = []
    current = _Current(service)
    for task in sorted(tasks, key=lambda t: (t.meta.created_at, t.id)):
        if task.service_id != service.id or task.desired_state == TaskState.REMOVE:
            continue
        if current.has(task):
            by_slot.setdefault(task.slot or task.node_id, []).append(task)
        elif task.is_wanted:
            outdated.append(task.slot)
    ordered: list[tuple[int | str, str]]
    if service.spec.mode.is_global:
        counted = [key for key in by_slot if key in node_names and _is_wanted(by_slot[key])]
        ordered = [(key, node_names[str(key)]) for key in counted]
        ordered.sort(key=lambda item: natural_key(item[1]))
    else:
        wanted = service.spec.replicas
        numbered = enumerate(_slots(by_slot, outdated, wanted), start=1)
        ordered = [(slot, f"{number}/{wanted}") for number, slot in numbered]
    slots = tuple(_slot(service, label, by_slot.get(key, []), node_names) for key, label in ordered)
    running = sum(slot.state == TaskState.RUNNING for slot in slots)
    return Progress(running, len(slots), slots, len(outdated))


class _Current:
    """Which tasks are of the service's specification. The version alone does not say it: after a
    rollback there are tasks that are right under an older number. In a job they are of an earlier
    iteration. Tasks of one version have one spec, so it is compared once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        ports = service.spec.endpoint.ports
        self._ports = tuple(p for p in ports if p.publish_mode == PublishMode.HOST)
        self._known = {service.spec_version: True}

    def has(self, task: Task) -> bool:
        version, service = task.spec_version, self._service
        if version not in self._known:
            same = not service.spec.mode.is_job and task.spec == service.spec.task
            self._known[version] = same
        return self._known[version] and task.ports == self._ports


def _is_wanted(tasks: Sequence[Task]) -> bool:
    """Whether a node is still meant to run a global service; a drained one is not."""
    last = tasks[-1]
    failed = last.status.state in (TaskState.FAILED, TaskState.REJECTED)
    return failed or any(task.is_wanted for task in tasks)


def _slots(by_slot: dict[int | str, list[Task]], outdated: Iterable[int], wanted: int) -> list[int]:
    """The slots that are there, first those with a current task, filled up with the smallest free
    numbers. They need not be 1 to `wanted`: a scale-down removes where there is most."""
    alive = [
        key
        for key, tasks in by_slot.items()
        if isinstance(key, int) and any(t.is_wanted or _ended_well(t) for t in tasks)
    ]
    others = (slot for slot in sorted(outdated) if slot not in alive)
    free = range(1, 2 * wanted + 1)
    return sorted(islice(dict.fromkeys((*sorted(alive), *others, *free)), wanted))


def _ended_well(task: Task) -> bool:
    return task.status.state == TaskState.COMPLETE


def _ends(service: Service, tasks: Sequence[Task]) -> int:
    """Those in a row that ended soon; in a job, whose tasks may take long, all that failed."""
    failed = sum(task.status.state in FAILURES for task in tasks)
    quick = tasks[-1].quick_ends
    return max(quick, failed) if service.spec.mode.is_job else quick


def _slot(
    service: Service, label: str, tasks: Sequence[Task], nodes_up: dict[str, str]
) -> SlotProgress:
    current = [task for task in tasks if task.is_wanted]
    if not tasks:
        return SlotProgress(label)
    if not current:
        last = tasks[-1].status
        if not is_given_up(service.spec.task.restart, tasks):
            return SlotProgress(label, None, last.error)
        reason = last.error or (last.message if is_terminal(last.state) else "its node is lost")
        reason = "" if last.state == TaskState.COMPLETE else reason
        return SlotProgress(label, last.state, reason, final=True)
    task, ends = current[-1], _ends(service, tasks)
    state = task.status.state
    if is_completion(service, task):
        return SlotProgress(label, state, final=True)
    if state == TaskState.RUNNING and task.node_id in nodes_up:
        return SlotProgress(label, state)
    # A new attempt says nothing yet of what the last one died of, and that is what helps.
    error = task.status.error or next(
        (t.status.error for t in reversed(tasks) if t.status.error), ""
    )
    if state == TaskState.RUNNING:
        return SlotProgress(label, None, error or f"node {task.node_id} is not up")
    return SlotProgress(label, state, error, ends=ends, rejected_by=_rejected_by(tasks, nodes_up))


def _rejected_by(tasks: Sequence[Task], names: dict[str, str]) -> str:
    """The node that has rejected the slot's last tasks for one reason; empty where none has."""
    last = [task for task in tasks if is_terminal(task.status.state)][-REJECTIONS_MAX:]
    why = {(task.status.state, task.node_id, task.status.error) for task in last}
    if len(last) < REJECTIONS_MAX or len(why) > 1 or last[-1].status.state != TaskState.REJECTED:
        return ""
    return names.get(last[-1].node_id, last[-1].node_id)


def failing(slots: Iterable[SlotProgress]) -> str:
    """The slot whose tasks end one after the other, in words; empty where none does."""
    for slot in slots:
        if slot.rejected_by:
            return (
                f"{slot.label} was rejected {REJECTIONS_MAX} times in a row by "
                f"{slot.rejected_by}: {slot.error}; the managers keep trying"
            )
        if slot.ends >= ENDS_MAX:
            word, reason = ("failed", f": {slot.error}") if slot.error else ("ended", "")
            return (
                f"{slot.label} has {word} {slot.ends} times in a row{reason}; "
                "the managers keep trying"
            )
    return ""


_DONE: Final = (UpdateState.COMPLETED, UpdateState.ROLLBACK_COMPLETED)


class Phase(IntEnum):
    """Where a wait stands; the last two end it."""

    WORKING = 0
    VERIFYING = 1
    CONVERGED = 2
    FAILED = 3


class Convergence:
    """A machine that watches one service. Times are seconds on a monotonic scale.

    It is made from the service as the change's answer showed it: an update that was already over
    then is an older one, and neither ends nor fails this wait.
    """

    def __init__(
        self, service: Service, settled: bool = False, started: float | None = None
    ) -> None:
        """`settled`: nothing was changed that concerns tasks, so there is nothing to verify where
        all of them run. `started` is when the wait began, if the first event may never come."""
        self.service = service
        self.phase = Phase.WORKING
        self.progress = Progress(0, service.spec.replicas)
        self.problem = ""
        self._outcome = Outcome.FAILED
        self._verified_at = NEVER
        self._older = service.update_status
        self._goes_back = self._older.state.is_rollback and self._older.state.is_running
        self._why_back = ""
        self._settled = settled
        self._patience = Patience(started)

    def handle(self, service: Service, progress: Progress, now: float) -> None:
        """Take what is known now; after CONVERGED or FAILED nothing changes any more."""
        if self.phase >= Phase.CONVERGED:
            return
        self._take(service, progress, now)
        status = service.update_status
        fresh = self._is_fresh(status)
        goes_on = fresh and status.state.is_running
        self._watch_direction(status, fresh)
        if self._has_ended(status, fresh) or (not goes_on and self._has_failed(progress)):
            self.phase = Phase.FAILED
        elif goes_on or not progress.complete:
            self.phase, self._verified_at = Phase.WORKING, NEVER
            self.problem, self._settled = "", False
        elif (fresh and status.state in _DONE) or self._needs_no_watch(progress):
            self.phase = Phase.CONVERGED
        elif self.phase == Phase.WORKING:
            self.phase = Phase.VERIFYING
            quiet = service.spec.update.monitor_seconds
            if service.spec.mode.is_global and not progress.wanted:
                quiet = max(quiet, UNMADE_SECONDS)
            self._verified_at = now + quiet
        self.tick(now)

    def _needs_no_watch(self, progress: Progress) -> bool:
        return self._settled or (progress.finished > 0 and not progress.running)

    def _take(self, service: Service, progress: Progress, now: float) -> None:
        self.service, self.progress = service, progress
        self._patience.note(service, progress.running + progress.finished, now)

    def _watch_direction(self, status: UpdateStatus, fresh: bool) -> None:
        if status.state == UpdateState.UPDATING:
            self._goes_back = False  # another update has taken over from a rollback
        elif fresh and status.state == UpdateState.ROLLBACK_STARTED:
            self._why_back = self._why_back or status.message

    def _has_ended(self, status: UpdateStatus, fresh: bool) -> bool:
        """Whether the update has ended otherwise than was asked; with the reason."""
        if not fresh and not (status.state.is_paused and self.progress.outdated):
            return False  # an older pause matters only where it holds back what is waited for
        end = update_end(status, self._why_back)
        if end is None or (end[0] == Outcome.ROLLED_BACK and self._goes_back):
            return False
        self._outcome, self.problem = end
        return True

    @property
    def outcome(self) -> Outcome:
        """The exit code, once the wait is over."""
        return self._outcome if self.phase == Phase.FAILED else Outcome.CONVERGED

    def _has_failed(self, progress: Progress) -> bool:
        """Whether the service will not come to what was asked, or not soon; with the reason."""
        lost = progress.given_up
        if lost is not None:
            reason = f": {lost.error}" if lost.error else ""
            self.problem = f"task {lost.label} has ended and is not restarted{reason}"
            return True
        self.problem = failing(progress.slots)
        return bool(self.problem)

    def _is_fresh(self, status: UpdateStatus) -> bool:
        return status != self._older or status.state.is_running

    def tick(self, now: float) -> None:
        """The time has come; call at `deadline()`."""
        if self.phase == Phase.VERIFYING and now >= self._verified_at:
            self.phase = Phase.CONVERGED
        elif self.phase == Phase.WORKING and now >= self.deadline():
            self.phase, self._outcome = Phase.FAILED, Outcome.TIMED_OUT
            errors = [f"{slot.label}: {slot.error}" for slot in self.progress.slots if slot.error]
            self.problem = self._patience.problem(self.service, errors)

    def _takes_its_time(self) -> bool:
        """Whether the wait may go on without progress."""
        return False

    def deadline(self) -> float:
        """When the wait is over if nothing else happens."""
        if self.phase == Phase.WORKING and not self._takes_its_time():
            return self._patience.end(self.service)
        return self._verified_at if self.phase == Phase.VERIFYING else NEVER

    def check(self) -> None:
        """Assert the invariants."""
        verifying = self.phase == Phase.VERIFYING
        assert not verifying or self.progress.complete, f"verifying at {self.progress}"
        assert (self.phase == Phase.FAILED) == bool(self.problem), f"{self.phase}: {self.problem}"

    @property
    def count(self) -> str:
        """For a line of its own."""
        progress = self.progress
        return f"{progress.running + progress.finished}/{progress.wanted}"

    @property
    def done_word(self) -> str:
        """How the line of a service ends that is there."""
        return "converged"

    def head(self) -> list[str]:
        """The sum."""
        progress = self.progress
        done = progress.running + progress.finished
        state = self.service.update_status.state
        back = "rolling back update: " if state == UpdateState.ROLLBACK_STARTED else ""
        return [f"overall progress: {back}{done} out of {progress.wanted} tasks"]

    @property
    def verdict(self) -> str:
        """The last line: what is waited for, or how it ended."""
        if self.phase == Phase.FAILED:
            return clean(self.problem)
        if self.phase == Phase.CONVERGED and self.progress.finished:
            done = f"{self.progress.finished} of {self.progress.wanted}"
            return f"verify: Service {self.service.spec.name} converged, {done} tasks completed"
        if self.phase == Phase.CONVERGED:
            return f"verify: Service {self.service.spec.name} converged"
        if self.phase == Phase.VERIFYING:
            period = human_duration(self.service.spec.update.monitor_seconds).lower()
            return f"verify: Waiting {period} to verify that tasks are stable..."
        return f"rollback: {clean(self._why_back)}" if self._why_back else ""


def service_lines(wait: Convergence) -> list[str]:
    """One service in full: the sum, each slot (up to twenty), the verdict."""
    progress = wait.progress
    lines = wait.head()
    if progress.wanted <= SLOTS_SHOWN_MAX:
        width = max((len(slot.label) for slot in progress.slots), default=0)
        lines += [_slot_line(slot, width) for slot in progress.slots]
    return [*lines, wait.verdict] if wait.verdict else lines


def stack_lines(waits: Iterable[Convergence]) -> list[str]:
    """Several services, a line for each, in the order of their names."""
    ordered = sorted(waits, key=lambda wait: natural_key(wait.service.spec.name))
    width = max((len(wait.service.spec.name) for wait in ordered), default=0)
    return [_stack_line(wait, width) for wait in ordered]


def _stack_line(wait: Convergence, width: int) -> str:
    progress = wait.progress
    words = {Phase.WORKING: "", Phase.VERIFYING: "verifying", Phase.CONVERGED: wait.done_word}
    note = wait.verdict if wait.phase == Phase.FAILED else words[wait.phase]
    if wait.phase == Phase.WORKING:
        note = next((_shortened(slot.error) for slot in progress.slots if slot.error), "")
    line = f"{wait.service.spec.name.ljust(width)}  {wait.count}  {note}"
    return line.rstrip()


def _slot_line(slot: SlotProgress, width: int) -> str:
    label = f"{slot.label.ljust(width)}: "
    if slot.state is None:
        return (label + _shortened(slot.error)).rstrip()
    word = slot.state.name.lower().ljust(9)
    if slot.error:
        return f"{label}{word} {_shortened(slot.error)}"
    reached = _STATES.index(slot.state) + 1 if slot.state in _STATES else 0
    filled = _BAR_WIDTH * reached // len(_STATES)
    if slot.state == TaskState.COMPLETE:
        filled = _BAR_WIDTH
    bar = ("=" * filled)[:-1] + ">" if filled else ""
    return f"{label}{word} [{bar.ljust(_BAR_WIDTH)}]"


def _shortened(error: str) -> str:
    text = clean(error)
    if len(text) <= ERROR_LENGTH_MAX:
        return text
    return text[: ERROR_LENGTH_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"


def repaint(old_count: int, lines: Sequence[str], columns: int) -> str:
    """What to write so that a terminal shows `lines` where it showed `old_count` lines.

    Lines are cut at the terminal's width: one that wraps would make the count wrong.
    """
    up = f"\x1b[{old_count}A" if old_count else ""
    shown = "".join(f"\x1b[2K{line[: max(1, columns - 1)]}\n" for line in lines)
    return f"{up}\r{shown}\x1b[J"


def new_lines(old: Sequence[str], lines: Sequence[str]) -> list[str]:
    """For a log file, which cannot be painted over: the lines that say something new.

    Bars say nothing to a log, so a slot counts by its state.
    """
    known = {line.partition(" [")[0] for line in old}
    plain = (line.partition(" [")[0].rstrip() for line in lines)
    return [line for line in plain if line not in {k.rstrip() for k in known}]
