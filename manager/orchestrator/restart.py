"""Tasks that ended or may not stay, and what takes their place.

A task whose node is lost stays wanted until its replacement runs: a node that returns before that
keeps it, and the replacement goes. So does one on a drained node, where the service starts first.
"""

from __future__ import annotations

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import has_ended, is_current, wish
from manager.placement.lost import held_until, is_lost, lost_at, may_return, must_leave
from pyswarm.model import RestartCondition, Task, TaskState, UpdateOrder
from pyswarm.model.restart import BY_ITSELF, is_given_up, quick_ends_after, restart_at


def settle(draft: Draft, slot: Slot, *, replace_lost: bool) -> None:
    """Give up the slot's wanted tasks that ended or may not stay, and replace them.

    `replace_lost` is False where a slot is a node: what is lost there has no other place.
    """
    _end_duplicates(draft, slot)
    last = None
    for task in slot.wanted:
        ended = has_ended(task)
        if not ended and (not must_leave(draft.view, task) or _is_early(draft, task)):
            continue
        last = task
        if ended or not _stays(draft, task) or _is_succeeded(draft, slot, task):
            draft.put(wish(task, TaskState.SHUTDOWN))
    if last is not None and not any(_is_settled(draft, task) for task in slot.wanted):
        _replace(draft, slot, last, replace_lost)


def _replace(draft: Draft, slot: Slot, task: Task, replace_lost: bool) -> None:
    policy = draft.settled_service.spec.task.restart
    # A task that waits until its predecessor has stopped is replaced by one that waits, too.
    desired = task.desired_state
    if must_leave(draft.view, task):
        if not replace_lost or policy.condition == RestartCondition.NONE:
            return
        tried = _ended_after(slot, task)
        if tried is None:
            draft.create(slot.key, desired_state=desired, quick_ends=task.quick_ends)
            return
        task = tried  # what took its place already is restarted as anything that ended
    start_after = restart_at(policy, task, slot.history)
    if start_after is not None:
        draft.create(
            slot.key,
            start_after=start_after,
            desired_state=desired,
            quick_ends=quick_ends_after(task),
        )


def _ended_after(slot: Slot, task: Task) -> Task | None:
    """The slot's newest task where it was made after `task`, in its place, and ended by itself."""
    newest = slot.history[-1]
    return newest if newest.id != task.id and newest.status.state in BY_ITSELF else None


def _is_settled(draft: Draft, task: Task) -> bool:
    return not has_ended(task) and not must_leave(draft.view, task)


def _is_succeeded(draft: Draft, slot: Slot, task: Task) -> bool:
    """Whether another task of the slot runs, or has done the work already: one that is quick is not
    always seen to run."""
    last = _ended_after(slot, task)
    return _is_done(draft, slot, last) or any(
        task.status.state == TaskState.RUNNING and not must_leave(draft.view, task)
        for task in slot.wanted
    )


def _is_done(draft: Draft, slot: Slot, last: Task | None) -> bool:
    """Whether a slot's last task has completed and is not to run again."""
    if last is None or last.status.state != TaskState.COMPLETE:
        return False
    return restart_at(draft.settled_service.spec.task.restart, last, slot.history) is None


def _is_early(draft: Draft, task: Task) -> bool:
    """Whether the service would rather wait for the task's node."""
    due = lost_at(draft.view, task) + draft.settled_service.spec.reschedule_after_seconds
    if not may_return(draft.view, task) or due <= draft.now:
        return False
    draft.wake(due)
    return True


def _stays(draft: Draft, task: Task) -> bool:
    """Whether a task that must leave is wanted until its replacement runs."""
    service = draft.settled_service
    if service.spec.mode.is_job:
        return False
    if is_lost(draft.view, task):
        # Once its lease is over its own node has stopped it.
        over = task.spec.stop_after_seconds and held_until(draft.view, task) <= draft.now
        return may_return(draft.view, task) and not over and is_current(service, task)
    return (
        service.spec.update.order == UpdateOrder.START_FIRST
        and service.spec.task.restart.condition != RestartCondition.NONE
        and task.status.state == TaskState.RUNNING
    )


def _end_duplicates(draft: Draft, slot: Slot) -> None:
    """Of two tasks that do the same, since a lost one has returned, keep the one that runs; of two
    that run the newer one, which others may know already."""
    service = draft.settled_service
    if service.spec.mode.is_job or len(slot.tasks) < 2:
        return
    alive = [t for t in slot.wanted if _is_settled(draft, t) and is_current(service, t)]
    if len(alive) < 2:
        return
    running = [task for task in alive if task.status.state == TaskState.RUNNING]
    kept = running[-1] if running else alive[0]
    for task in alive:
        if task is not kept:
            draft.put(wish(task, TaskState.SHUTDOWN))


def is_done(draft: Draft, slot: Slot) -> bool:
    """Whether the slot is empty for good: its last task ended, and the policy leaves it so.

    A changed spec opens it again, which is how an update repairs a service that gave up.
    """
    history, service = slot.history, draft.settled_service
    if not history or not is_current(service, history[-1]):
        return False
    return is_given_up(service.spec.task.restart, history)
