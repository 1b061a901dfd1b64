"""Jobs: slots whose tasks shall complete, each once in an iteration.

A slot is a number from 1 to the completions that are asked for, or in a global job a node. In the
present iteration it is

    complete   one of its tasks has completed
    active     it has a wanted task
    given up   its last task failed, and the restart policy leaves it so

A job has no rolling update: a changed task specification, or a forced update, begins the next
iteration at once. What still runs of older ones is stopped, and the slot's new task waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Final

from manager.orchestrator.global_ import takes_new
from manager.orchestrator.restart import is_done, settle
from manager.orchestrator.slots import Draft, Key, Slot
from manager.orchestrator.tasks import has_ended, wish
from manager.placement.fit import node_fits
from manager.placement.lost import is_lost, must_leave
from pyswarm.model import (
    JobState,
    Node,
    RestartCondition,
    ServiceMode,
    Task,
    TaskState,
    is_completion,
)

STOP_SECONDS: Final = 60.0
"""How long past its grace a task of an older iteration may hold up the new one of its slot."""


@dataclass(slots=True)
class _Survey:
    """The slots of the present iteration by how they stand."""

    complete: set[Key] = field(default_factory=set)
    active: set[Key] = field(default_factory=set)
    given_up: set[Key] = field(default_factory=set)
    missing: int = 0

    @property
    def keys(self) -> set[Key]:
        return self.complete | self.active | self.given_up


def plan_job(draft: Draft) -> None:
    """Take the job one step further."""
    _end_older(draft)
    if draft.settled_service.spec.mode == ServiceMode.GLOBAL_JOB:
        survey = _plan_nodes(draft)
    else:
        survey = _plan_numbers(draft)
    for slot in list(draft.slots.values()):
        _release(draft, slot)
    if not draft.full:
        _report(draft, survey)


def _end_older(draft: Draft) -> None:
    iteration = draft.settled_service.job_status.iteration
    for task in list(draft.tasks.values()):
        if task.job_iteration != iteration and task.is_wanted:
            draft.put(wish(task, TaskState.SHUTDOWN))


def _is_complete(draft: Draft, slot: Slot) -> bool:
    service = draft.settled_service
    return any(is_completion(service, task) for task in slot.tasks.values())


def _is_given_up(draft: Draft, slot: Slot) -> bool:
    """Whether the slot, in which nothing is wanted, stays so. What completed on a lost node after
    it had been told to stop counts as little as a failure: it runs again."""
    if not is_done(draft, slot):
        return False
    if slot.history[-1].status.state != TaskState.COMPLETE:
        return True
    restart = draft.settled_service.spec.task.restart
    return restart.condition == RestartCondition.NONE


def _note(draft: Draft, slot: Slot, survey: _Survey) -> None:
    if _is_complete(draft, slot):
        survey.complete.add(slot.key)
    elif slot.wanted:
        survey.active.add(slot.key)
    elif _is_given_up(draft, slot):
        survey.given_up.add(slot.key)


def _plan_numbers(draft: Draft) -> _Survey:
    """Replicated: keep `max_concurrent` tasks at work until all have completed."""
    survey, spec = _Survey(), draft.settled_service.spec
    for key in sorted(key for key in draft.slots if isinstance(key, int)):
        slot = draft.slots[key]
        if not _is_complete(draft, slot):
            settle(draft, slot, replace_lost=True)
        _note(draft, slot, survey)
        if key > spec.replicas and key not in survey.keys:
            _forget(draft, slot)
    occupied = survey.keys
    surplus = len(occupied) - spec.replicas
    for extra in _superfluous(survey)[: max(surplus, 0)]:
        _forget(draft, draft.slots[extra])
        survey.active.discard(extra)
        survey.given_up.discard(extra)
    survey.missing = max(-surplus, 0)
    room = (spec.max_concurrent or spec.replicas) - len(survey.active)
    free = (number for number in count(1) if number not in occupied)
    for number in islice(free, max(min(room, survey.missing), 0)):
        if draft.full:
            break
        draft.create(number, desired_state=TaskState.READY)
    return survey


def _superfluous(survey: _Survey) -> list[Key]:
    """What to do without first where fewer completions are asked for: what was given up, then the
    highest numbers."""
    return [
        *sorted(survey.given_up, key=_order, reverse=True),
        *sorted(survey.active, key=_order, reverse=True),
    ]


def _order(key: Key) -> str:
    return str(key).zfill(25)


def _plan_nodes(draft: Draft) -> _Survey:
    """Global: one completion on each node that takes tasks and fits, also on one that comes."""
    survey, service = _Survey(), draft.settled_service
    nodes = {node.id: node for node in draft.view.list(Node)}
    for key in sorted({key for key in draft.slots if isinstance(key, str)} | nodes.keys()):
        slot, node = draft.slot(key), nodes.get(key)
        if node is None:
            _forget(draft, slot)
            continue
        if not _is_complete(draft, slot):
            takes = takes_new(service, node)
            for task in slot.wanted:
                misfit = not node_fits(service.spec.task, node)
                if must_leave(draft.view, task) or misfit or (has_ended(task) and not takes):
                    draft.put(wish(task, TaskState.SHUTDOWN))
            settle(draft, slot, replace_lost=False)
            if takes and not slot.wanted and not _is_given_up(draft, slot):
                draft.create(key, desired_state=TaskState.READY)
        _note(draft, slot, survey)
        if draft.full:
            break
    return survey


def _forget(draft: Draft, slot: Slot) -> None:
    for task in list(slot.tasks.values()):
        draft.put(wish(task, TaskState.REMOVE))


def _release(draft: Draft, slot: Slot) -> None:
    """Let a prepared task run once nothing else of its slot does, or it has waited long enough."""
    for task in slot.wanted:
        if task.desired_state >= TaskState.RUNNING:
            continue
        until = max((_waits_until(draft, task, other) for other in slot.history), default=0.0)
        until = max(until, draft.held_until(slot.key))
        if until <= draft.now:
            draft.put(wish(task, TaskState.COMPLETE))
        else:
            draft.wake(until)


def _waits_until(draft: Draft, task: Task, other: Task) -> float:
    if other.id == task.id or has_ended(other) or is_lost(draft.view, other):
        return 0.0
    grace = other.spec.container.stop_grace_period_seconds
    return task.meta.created_at + grace + STOP_SECONDS


def _report(draft: Draft, survey: _Survey) -> None:
    """Say in the service how the iteration stands, for whoever waits for it."""
    service = draft.settled_service
    state, message = JobState.ACTIVE, ""
    if not survey.active and not survey.missing:
        state = JobState.FAILED if survey.given_up else JobState.COMPLETED
    if state == JobState.FAILED:
        task = draft.slots[min(survey.given_up, key=_order)].history[-1]
        reason = task.status.error or task.status.message
        if not has_ended(task):
            reason = "its node is lost"
        message = f"task {task.id} did not complete and is not tried again: {reason}"
        if len(survey.given_up) > 1:
            message += f" ({len(survey.given_up)} tasks in all)"
    status = replace(service.job_status, state=state, message=message)
    if status != service.job_status:
        draft.put_service(replace(service, job_status=status))
