"""Rolling updates: a few slots at a time, watched, stopped or taken back when they fail.

Stateless: how far an update is follows from the tasks and from `update_status`, so a new leader
goes on where the old one stopped. Of a slot the update sees

    old       a wanted task of an older spec
    mixed     beside it the new task (start-first)
    busy      the new task does not run, or runs for less than `delay`
    watched   the new task runs for less than `monitor`
    failed    a new task has failed since the update began

An update in which nothing comes forward for its progress deadline has failed, too, so each one
ends. A rollback has nothing to fall back to: where it fails, it pauses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import has_ended, host_ports, is_current, wish
from manager.placement.fit import node_fits
from manager.placement.lost import is_lost
from manager.placement.volumes import writes_to_volume
from pyswarm.model import (
    FailureAction,
    Node,
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
    running: int = 0
    failed: dict[int | str, Task] = field(default_factory=dict)
    total: int = 0
    quiet_until: float = 0.0
    """Until then nothing need come forward: a delay, a watch or a stop takes its time."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do, nor to wait for."""
        return not (self.old or self.mixed or self.busy or self.watched)


def is_rollback(service: Service) -> bool:
    """Whether the running update goes back to an earlier spec."""
    return service.update_status.state.is_rollback


def begun(now: float, message: str, *, rollback: bool = False) -> UpdateStatus:
    """The status of an update, or of a rollback, that begins now."""
    state = UpdateState.ROLLBACK_STARTED if rollback else UpdateState.UPDATING
    return UpdateStatus(state=state, started_at=now, progressed_at=now, message=message)


def taken_back(service: Service, now: float, message: str) -> Service | None:
    """The service on its way back to the spec before the update, with as many replicas as now;
    None where there is no other spec. It keeps no spec to go back to: that one has failed."""
    if service.previous_spec is None:
        return None
    spec = replace(service.previous_spec, replicas=service.spec.replicas)
    if spec == service.spec:
        return None
    return replace(
        service,
        spec=spec,
        previous_spec=None,
        spec_version=service.spec_version + 1,
        update_status=begun(now, message, rollback=True),
    )


def plan_update(draft: Draft) -> None:
    """Take the update of the service one step further."""
    freed = set()
    for slot in list(draft.slots.values()):
        if _promote(draft, slot):
            freed.add(slot.key)
        _finish(draft, slot)
    service = draft.settled_service
    state = service.update_status.state
    if state.is_paused:
        return
    if not state.is_running:
        if not any(_old(service, slot) for slot in draft.slots.values()):
            return
        # A change outside the task's spec, as of a port in host mode, replaces tasks as well.
        service = replace(service, update_status=begun(draft.now, "update in progress"))
        draft.put_service(service)
    for slot in draft.slots.values():
        _keep_placed(draft, slot)
        if draft.full:
            return
    config = service.spec.rollback if is_rollback(service) else service.spec.update
    survey = _survey(draft, config)
    if config.failure_action != FailureAction.CONTINUE and _has_failed(config, survey):
        _give_up(draft, config, _failure_words(survey))
        return
    began = _replace_some(draft, config, survey) or bool(freed - survey.failed.keys())
    status = _with_progress(draft, survey.running, began)
    if not survey.is_over:
        last = max(status.progressed_at, status.started_at, survey.quiet_until)
        if last + config.deadline_seconds <= draft.now:
            _give_up(draft, config, _deadline_words(config, survey), timed_out=True)
            return
        draft.wake(last + config.deadline_seconds)
    _report(draft, survey)


def _with_progress(draft: Draft, running: int, began: bool) -> UpdateStatus:
    """Note that the update has come forward. Only what cannot happen for ever counts: a slot that
    is begun or need not wait any more, and more slots than ever that run the new spec."""
    service = draft.settled_service
    status = service.update_status
    if began or running > status.updated:
        updated = max(running, status.updated)
        status = replace(status, updated=updated, progressed_at=draft.now)
        draft.put_service(replace(service, update_status=status))
    return status


def _old(service: Service, slot: Slot) -> list[Task]:
    return [t for t in slot.tasks.values() if t.is_wanted and not is_current(service, t)]


def _new(service: Service, slot: Slot) -> list[Task]:
    return [t for t in slot.tasks.values() if t.is_wanted and is_current(service, t)]


def _promote(draft: Draft, slot: Slot) -> bool:
    """Let a prepared task run once its predecessor has stopped, or has had long enough to;
    whether there was one."""
    promoted = False
    for task in slot.wanted:
        if task.desired_state == TaskState.RUNNING:
            continue
        if _still_writes(draft, slot, task):
            continue
        stopping = [
            t
            for t in slot.tasks.values()
            if t.id != task.id and not has_ended(t) and not is_lost(draft.view, t)
        ]
        until = max((_stopped_at(task, t) for t in stopping), default=0.0)
        until = max(until, draft.held_until(slot.key))
        if until <= draft.now:
            draft.put(wish(task, TaskState.RUNNING))
            promoted = True
        else:
            draft.wake(until)
    return promoted


def _stopped_at(new: Task, old: Task) -> float:
    """Until when `new` waits for `old` to stop, at the longest."""
    return new.meta.created_at + old.spec.container.stop_grace_period_seconds + STOP_SECONDS


def _keep_placed(draft: Draft, slot: Slot) -> None:
    """Where only the placement has changed, a task whose node still fits stays, under the new
    spec; a container has nothing of it. One that may have too many beside it is placed again."""
    service = draft.settled_service
    wanted = service.spec.task
    for task in _old(service, slot):
        node = draft.view.get(Node, task.node_id) if task.node_id else None
        placement = replace(task.spec.placement, max_replicas=wanted.placement.max_replicas)
        if (
            node is not None
            and placement == task.spec.placement
            and replace(task.spec, placement=wanted.placement) == wanted
            and task.ports == host_ports(service)
            and node_fits(wanted, node)
        ):
            draft.put(replace(task, spec=wanted, spec_version=service.spec_version))


def _still_writes(draft: Draft, slot: Slot, task: Task) -> bool:
    """Whether another task of the slot may write to its volume: never two, however long it takes
    to stop."""
    others = (t for t in slot.tasks.values() if t.id != task.id and writes_to_volume(t.spec))
    return any(not has_ended(t) and not is_lost(draft.view, t) for t in others)


def _finish(draft: Draft, slot: Slot) -> None:
    """Start-first: stop the old task once the new one runs, or has done its work already: one that
    is quick is not always seen to run."""
    if len(slot.tasks) < 2:
        return
    service = draft.settled_service
    since = service.update_status.started_at
    if any(t.status.state == TaskState.RUNNING for t in _new(service, slot)) or any(
        t.status.state == TaskState.COMPLETE and t.meta.created_at >= since
        for t in slot.tasks.values()
        if is_current(service, t)
    ):
        for task in _old(service, slot):
            draft.put(wish(task, TaskState.SHUTDOWN))


def _survey(draft: Draft, config: UpdateConfig) -> _Survey:
    service = draft.settled_service
    survey = _Survey()
    for key in sorted(draft.slots, key=str):
        slot = draft.slots[key]
        if not slot.tasks:
            continue
        survey.total += 1
        failed = _failure(service, slot, service.update_status.started_at)
        if failed is not None:
            survey.failed[key] = failed
        new, old = _new(service, slot), _old(service, slot)
        if old and new:
            survey.mixed += 1
        if old and not new:
            survey.old.append(slot)
        # What failed is not waited for: the failure ratio judges it.
        # Of two the last one counts: it takes the place of one that is lost or shall leave.
        elif new and failed is None:
            survey.running += new[-1].status.state == TaskState.RUNNING
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
            if task.desired_state < TaskState.RUNNING:
                until = max(_stopped_at(task, task), draft.held_until(task.slot or task.node_id))
                survey.quiet_until = max(survey.quiet_until, until)
        return
    # The agent's clock may differ: a time in the future would never pass.
    running_since = min(task.status.timestamp, draft.now)
    if draft.now < running_since + config.delay_seconds:
        survey.busy.append(task)
        _let_pass(draft, survey, running_since + config.delay_seconds)
    elif draft.now < running_since + config.monitor_seconds:
        survey.watched += 1
        _let_pass(draft, survey, running_since + config.monitor_seconds)


def _let_pass(draft: Draft, survey: _Survey, until: float) -> None:
    survey.quiet_until = max(survey.quiet_until, until)
    draft.wake(until)


def _has_failed(config: UpdateConfig, survey: _Survey) -> bool:
    return bool(survey.failed) and len(survey.failed) / survey.total > config.max_failure_ratio


def _failure_words(survey: _Survey) -> str:
    task = next(iter(survey.failed.values()))
    why = f"due to failure or early termination of task {task.id}"
    return f"{why} ({task.status.error})" if task.status.error else why


def _deadline_words(config: UpdateConfig, survey: _Survey) -> str:
    why = f"since nothing has come forward for {config.deadline_seconds:g}s"
    stuck = [t for t in survey.busy if t.status.state != TaskState.RUNNING]
    tasks = stuck or list(survey.failed.values())
    if not tasks:
        return why
    reason = tasks[0].status.error or tasks[0].status.message
    return f"{why}: task {tasks[0].id} is {tasks[0].status.state.name.lower()} ({reason})"


def _give_up(draft: Draft, config: UpdateConfig, why: str, timed_out: bool = False) -> None:
    service = draft.settled_service
    rollback = is_rollback(service)
    if config.failure_action == FailureAction.ROLLBACK and not rollback:
        back = taken_back(service, draft.now, f"update rolled back {why}")
        if back is not None:
            draft.put_service(back)
            draft.wake(draft.now)
            return
    status = replace(
        service.update_status,
        state=UpdateState.ROLLBACK_PAUSED if rollback else UpdateState.PAUSED,
        message=f"{_word(service)} paused {why}",
        timed_out=timed_out,
    )
    draft.put_service(replace(service, update_status=status))


def _word(service: Service) -> str:
    return "rollback" if is_rollback(service) else "update"


def _replace_some(draft: Draft, config: UpdateConfig, survey: _Survey) -> bool:
    """Begin as many slots as there is room for; whether one of them was begun the first time."""
    room = len(survey.old)
    if config.parallelism:
        room = max(config.parallelism - len(survey.busy), 0)
    began = False
    # Slots that do not run come first: an update is often the cure.
    chosen = sorted(survey.old, key=lambda slot: (slot.is_running, str(slot.key).zfill(25)))[:room]
    for slot in chosen:
        if draft.full:
            break
        failed, start_after = survey.failed.get(slot.key), 0.0
        began = began or failed is None
        if failed is not None:
            restart = failed.spec.restart
            start_after = failed.status.timestamp + restart.delay_seconds
        start_first = config.order == UpdateOrder.START_FIRST and slot.is_running
        running = (t for t in slot.wanted if t.status.state == TaskState.RUNNING)
        runs = (t for t in running if t.id not in slot.lost)
        stays = next(runs, None) if start_first else None
        for task in slot.wanted:
            # Beside the one that runs there may be one of an update that was overtaken.
            if task is not stays:
                draft.put(wish(task, TaskState.SHUTDOWN))
        if start_first:
            draft.create(slot.key, start_after=start_after)
            continue
        # It is prepared while the old one stops, and runs only after that.
        draft.create(slot.key, start_after=start_after, desired_state=TaskState.READY)
        _promote(draft, slot)
    return began


def _report(draft: Draft, survey: _Survey) -> None:
    service = draft.settled_service
    status, word = service.update_status, _word(service)
    if not survey.is_over:
        done = survey.total - len(survey.old) - len(survey.busy)
        message = f"{word} in progress: {done} of {survey.total} tasks updated"
        late = [t for t in survey.busy if t.meta.created_at + PATIENCE_SECONDS <= draft.now]
        if late:
            reason = late[0].status.error or late[0].status.message
            message += f"; waiting for task {late[0].id}: {reason}"
        # Why it was rolled back is worth more than how far that is.
        if message != status.message and (late or not is_rollback(service)):
            draft.put_service(replace(service, update_status=replace(status, message=message)))
        return
    over = UpdateState.ROLLBACK_COMPLETED if is_rollback(service) else UpdateState.COMPLETED
    status = replace(
        status, state=over, completed_at=draft.now, message=f"{word} completed", timed_out=False
    )
    draft.put_service(replace(service, update_status=status))
