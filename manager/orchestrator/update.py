"""Rolling updates: a few slots at a time, watched, stopped or taken back when they fail.

Stateless: how far an update is follows from the tasks and from `update_status`, so a new leader
goes on where the old one stopped. Of a slot the update sees

    old       a wanted task of an older spec
    mixed     beside it the new task (start-first)
    busy      the new task does not run, or runs for less than `delay`
    watched   the new task runs for less than `monitor`
    failed    a new task has failed since the update began

A rollback is an update without a previous spec: it has nothing to fall back to, so it pauses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import has_ended, is_current, is_wanted, wish
from manager.placement.lost import is_lost
from pyswarm.model import (
    FailureAction,
    Service,
    Task,
    TaskState,
    UpdateConfig,
    UpdateOrder,
    UpdateState,
    UpdateStatus,
)
from pyswarm.model.restart import FAILURES

PATIENCE_SECONDS: Final = 30.0
"""A slot that is busy for longer is named in the update's message, with what it waits for."""

STOP_SECONDS: Final = 60.0
"""How long past its grace an old task may hold up the new one of its slot."""


@dataclass(slots=True)
class _Survey:
    """The slots by what the update sees in them."""

    old: list[Slot] = field(default_factory=list)
    busy: list[Task] = field(default_factory=list)
    watched: int = 0
    mixed: int = 0
    failed: dict[int | str, Task] = field(default_factory=dict)
    total: int = 0


def is_rollback(service: Service) -> bool:
    """Whether the running update goes back to an earlier spec."""
    return service.update_status.state == UpdateState.UPDATING and service.previous_spec is None


def plan_update(draft: Draft) -> None:
    """Take the update of the service one step further."""
    for slot in list(draft.slots.values()):
        _promote(draft, slot)
        _finish(draft, slot)
    service = draft.settled_service
    state = service.update_status.state
    if state == UpdateState.PAUSED:
        return
    if state != UpdateState.UPDATING:
        if not any(_old(service, slot) for slot in draft.slots.values()):
            return
        service = _begin(draft, service)
    config = service.spec.rollback if is_rollback(service) else service.spec.update
    survey = _survey(draft, config)
    if config.failure_action != FailureAction.CONTINUE and _has_failed(config, survey):
        _give_up(draft, service, config, survey)
        return
    _replace_some(draft, config, survey)
    _report(draft, survey)


def _begin(draft: Draft, service: Service) -> Service:
    # A change outside the task's spec, as of a port in host mode, replaces tasks as well. There is
    # no earlier spec to return to that would be another, so the present one stands for it.
    status = UpdateStatus(
        state=UpdateState.UPDATING, started_at=draft.now, message="update in progress"
    )
    previous = service.previous_spec or service.spec
    changed = replace(service, update_status=status, previous_spec=previous)
    draft.put_service(changed)
    return changed


def _old(service: Service, slot: Slot) -> list[Task]:
    return [t for t in slot.tasks.values() if is_wanted(t) and not is_current(service, t)]


def _new(service: Service, slot: Slot) -> list[Task]:
    return [t for t in slot.tasks.values() if is_wanted(t) and is_current(service, t)]


def _promote(draft: Draft, slot: Slot) -> None:
    """Let a prepared task run once its predecessor has stopped, or has had long enough to."""
    for task in slot.wanted:
        if task.desired_state == TaskState.RUNNING:
            continue
        stopping = [
            t
            for t in slot.tasks.values()
            if t.id != task.id and not has_ended(t) and not is_lost(draft.view, t)
        ]
        until = max(
            (
                task.meta.created_at + t.spec.container.stop_grace_period_seconds + STOP_SECONDS
                for t in stopping
            ),
            default=0.0,
        )
        until = max(until, draft.held_until(slot.key))
        if until <= draft.now:
            draft.put(wish(task, TaskState.RUNNING))
        else:
            draft.wake(until)


def _finish(draft: Draft, slot: Slot) -> None:
    """Start-first: stop the old task once the new one runs."""
    if len(slot.tasks) < 2:
        return
    service = draft.settled_service
    if any(t.status.state == TaskState.RUNNING for t in _new(service, slot)):
        for task in _old(service, slot):
            draft.put(wish(task, TaskState.SHUTDOWN))


def _survey(draft: Draft, config: UpdateConfig) -> _Survey:
    service = draft.settled_service
    since = service.update_status.started_at
    survey = _Survey()
    for key in sorted(draft.slots, key=str):
        slot = draft.slots[key]
        if not slot.tasks:
            continue
        survey.total += 1
        failed = _failure(service, slot, since)
        if failed is not None:
            survey.failed[key] = failed
        new, old = _new(service, slot), _old(service, slot)
        if old and new:
            survey.mixed += 1
        if old and not new:
            survey.old.append(slot)
        # What failed is not waited for: the failure ratio judges it.
        # Of two the last one counts: it takes the place of one that is lost or shall leave.
        elif new and failed is None and new[-1].meta.created_at >= since:
            _wait_for(draft, config, survey, new[-1])
    return survey


def _failure(service: Service, slot: Slot, since: float) -> Task | None:
    """The last new task that failed."""
    for task in reversed(slot.history):
        if (
            task.status.state in FAILURES
            and task.meta.created_at >= since
            and is_current(service, task)
        ):
            return task
    return None


def _wait_for(draft: Draft, config: UpdateConfig, survey: _Survey, task: Task) -> None:
    if task.status.state != TaskState.RUNNING:
        if not has_ended(task):
            survey.busy.append(task)
            draft.wake(max(task.meta.created_at + PATIENCE_SECONDS, draft.now + 1.0))
        return
    # The agent's clock may differ: a time in the future would never pass.
    running_since = min(task.status.timestamp, draft.now)
    if draft.now < running_since + config.delay_seconds:
        survey.busy.append(task)
        draft.wake(running_since + config.delay_seconds)
    elif draft.now < running_since + config.monitor_seconds:
        survey.watched += 1
        draft.wake(running_since + config.monitor_seconds)


def _has_failed(config: UpdateConfig, survey: _Survey) -> bool:
    return bool(survey.failed) and len(survey.failed) / survey.total > config.max_failure_ratio


def _give_up(draft: Draft, service: Service, config: UpdateConfig, survey: _Survey) -> None:
    task = next(iter(survey.failed.values()))
    why = f"due to failure or early termination of task {task.id}"
    if task.status.error:
        why += f" ({task.status.error})"
    previous = service.previous_spec
    if config.failure_action == FailureAction.ROLLBACK and previous is not None:
        status = UpdateStatus(
            state=UpdateState.UPDATING, started_at=draft.now, message=f"rolling back {why}"
        )
        draft.put_service(
            replace(
                service,
                spec=replace(previous, replicas=service.spec.replicas),
                previous_spec=None,
                spec_version=service.spec_version + 1,
                update_status=status,
            )
        )
        draft.wake(draft.now)
        return
    word = "rollback" if is_rollback(service) else "update"
    status = replace(
        service.update_status, state=UpdateState.PAUSED, message=f"{word} paused {why}"
    )
    draft.put_service(replace(service, update_status=status))


def _replace_some(draft: Draft, config: UpdateConfig, survey: _Survey) -> None:
    room = len(survey.old)
    if config.parallelism:
        room = max(config.parallelism - len(survey.busy), 0)
    # Slots that do not run come first: an update is often the cure.
    chosen = sorted(survey.old, key=lambda slot: (slot.is_running, str(slot.key).zfill(25)))[:room]
    for slot in chosen:
        if draft.full:
            return
        failed, start_after = survey.failed.get(slot.key), 0.0
        if failed is not None:
            restart = failed.spec.restart
            start_after = failed.status.timestamp + restart.delay_seconds
        if config.order == UpdateOrder.START_FIRST and slot.is_running:
            draft.create(slot.key, start_after=start_after)
            continue
        for task in slot.wanted:
            draft.put(wish(task, TaskState.SHUTDOWN))
        # It is prepared while the old one stops, and runs only after that.
        draft.create(slot.key, start_after=start_after, desired_state=TaskState.READY)
        _promote(draft, slot)


def _report(draft: Draft, survey: _Survey) -> None:
    service = draft.settled_service
    status = service.update_status
    word = "rollback" if is_rollback(service) else "update"
    if survey.old or survey.mixed or survey.busy or survey.watched:
        done = survey.total - len(survey.old) - len(survey.busy)
        message = f"{word} in progress: {done} of {survey.total} tasks updated"
        late = [t for t in survey.busy if t.meta.created_at + PATIENCE_SECONDS <= draft.now]
        if late:
            reason = late[0].status.error or late[0].status.message
            message += f"; waiting for task {late[0].id}: {reason}"
        if message != status.message and (late or not is_rollback(service)):
            draft.put_service(replace(service, update_status=replace(status, message=message)))
        return
    status = replace(
        status,
        state=UpdateState.COMPLETED,
        completed_at=draft.now,
        message=f"{word} completed",
    )
    draft.put_service(replace(service, update_status=status))
