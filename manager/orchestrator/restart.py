"""Whether a task that ended is replaced, and when.

Decided from the slot's stored history alone, so a new leader decides the same: the reaper keeps as
many ended tasks as `max_attempts` needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import has_ended, is_current, must_leave, wish
from pyswarm.model import RestartCondition, RestartPolicy, Task, TaskState

BY_ITSELF: Final = frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED})
"""Ends that nobody ordered."""

FAILURES: Final = frozenset({TaskState.FAILED, TaskState.REJECTED})


@dataclass(frozen=True, slots=True)
class Replacement:
    """The task is replaced; the new one starts at `start_after`, in seconds since the epoch."""

    start_after: float


def decide(policy: RestartPolicy, ended: Task, history: Iterable[Task]) -> Replacement | None:
    """Whether `ended`, which ended by itself, is replaced; `history` is that of its slot.

    `max_attempts` restarts of one spec version are allowed, within `window_seconds` before the
    end where a window is set.
    """
    if policy.condition == RestartCondition.NONE:
        return None
    state = ended.status.state
    if policy.condition == RestartCondition.ON_FAILURE and state == TaskState.COMPLETE:
        return None
    if policy.max_attempts and _ends(policy, ended, history) > policy.max_attempts:
        return None
    return Replacement(ended.status.timestamp + policy.delay_seconds)


def _ends(policy: RestartPolicy, ended: Task, history: Iterable[Task]) -> int:
    since = ended.status.timestamp - policy.window_seconds if policy.window_seconds else 0.0
    return sum(
        1
        for task in history
        if task.spec_version == ended.spec_version
        and task.status.state in BY_ITSELF
        and task.status.timestamp >= since
    )


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
                draft.create(slot.key, desired_state=desired)
        else:
            found = decide(policy, task, slot.history)
            if found is not None:
                draft.create(slot.key, start_after=found.start_after, desired_state=desired)


def is_done(draft: Draft, slot: Slot) -> bool:
    """Whether the slot is empty for good: its last task ended, and the policy leaves it so.

    A changed spec opens it again, which is how an update repairs a service that gave up.
    """
    history = slot.history
    if not history:
        return False
    last, service = history[-1], draft.settled_service
    if not is_current(service, last):
        return False
    policy = service.spec.task.restart
    if last.status.state in BY_ITSELF:
        return decide(policy, last, history) is None
    return policy.condition == RestartCondition.NONE and bool(last.node_id)
