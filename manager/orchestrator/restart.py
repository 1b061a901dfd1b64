"""Tasks that ended or may not stay, and what takes their place."""

from __future__ import annotations

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import has_ended, is_current, must_leave, wish
from pyswarm.model import RestartCondition, TaskState
from pyswarm.model.restart import is_given_up, quick_ends_after, restart_at


def settle(draft: Draft, slot: Slot, *, replace_lost: bool) -> None:
    """Give up the slot's wanted tasks that ended or may not stay, and replace them.

    `replace_lost` is False where a slot is a node: what is lost there has no other place.
    """
    wanted = slot.wanted
    policy = draft.settled_service.spec.task.restart
    for index, task in enumerate(wanted):
        ended, leaves = has_ended(task), must_leave(draft.view, task)
        if not ended and not leaves:
            continue
        draft.put(wish(task, TaskState.SHUTDOWN))
        others = wanted[:index] + wanted[index + 1 :]
        if any(not has_ended(t) and not must_leave(draft.view, t) for t in others):
            continue
        if slot.wanted:
            # The replacement was made a moment ago, for the other of two tasks.
            continue
        # A task that waits until its predecessor has stopped is replaced by one that waits, too.
        desired = task.desired_state
        if leaves:
            if replace_lost and policy.condition != RestartCondition.NONE:
                draft.create(slot.key, desired_state=desired, quick_ends=task.quick_ends)
        else:
            start_after = restart_at(policy, task, slot.history)
            if start_after is not None:
                draft.create(
                    slot.key,
                    start_after=start_after,
                    desired_state=desired,
                    quick_ends=quick_ends_after(task),
                )


def is_done(draft: Draft, slot: Slot) -> bool:
    """Whether the slot is empty for good: its last task ended, and the policy leaves it so.

    A changed spec opens it again, which is how an update repairs a service that gave up.
    """
    history, service = slot.history, draft.settled_service
    if not history or not is_current(service, history[-1]):
        return False
    return is_given_up(service.spec.task.restart, history)
