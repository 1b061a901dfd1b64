"""What a restart policy says of a task that ended: whether it is replaced, and when. Pure.

Decided from the slot's stored history alone, so a new leader decides as the old one did, and the
command line sees, as the managers do, that a slot is given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pyswarm.model.states import TaskState
from pyswarm.model.task import RestartCondition, RestartPolicy, Task

FAILURES: Final = frozenset({TaskState.FAILED, TaskState.REJECTED})

BY_ITSELF: Final = FAILURES | {TaskState.COMPLETE}
"""Ends that nobody ordered."""

SOON_SECONDS: Final = 60.0
"""A task that ended within this time of when it might start ended soon; one that lasted longer
begins the count anew."""

PATIENT_RESTARTS: Final = 3
"""So many restarts in a row come after the policy's own delay; then it doubles."""

FIRST_SECONDS: Final = 0.5
"""What is doubled where the policy has a shorter delay."""

FAILED_SECONDS_MAX: Final = 60.0
COMPLETED_SECONDS_MAX: Final = 5.0
"""Where the doubling ends. A task that ends well is often meant to come again soon, so it waits no
longer than Docker's default; a policy's own longer delay always counts."""


def ended_soon(task: Task) -> bool:
    """Whether a task that ended by itself has lasted for less than a while."""
    began = max(task.meta.created_at, task.start_after)
    return task.status.timestamp - began < SOON_SECONDS


def quick_ends_after(task: Task) -> int:
    """The count that the replacement of a task that ended by itself carries on."""
    return task.quick_ends + 1 if ended_soon(task) else 0


def delay_seconds(policy: RestartPolicy, quick_ends: int, *, failed: bool) -> float:
    """The pause before the restart that follows `quick_ends` tasks that ended soon in a row."""
    doublings = quick_ends - PATIENT_RESTARTS
    if doublings <= 0:
        return policy.delay_seconds
    grown = max(policy.delay_seconds, FIRST_SECONDS) * 2.0 ** min(doublings, 16)
    most = FAILED_SECONDS_MAX if failed else COMPLETED_SECONDS_MAX
    return max(policy.delay_seconds, min(grown, most))


def restart_at(policy: RestartPolicy, ended: Task, history: Iterable[Task]) -> float | None:
    """When the replacement of `ended`, which ended by itself, may start, in seconds since the
    epoch; None: it has none. `history` is that of its slot.

    `max_attempts` restarts of one spec version are allowed, within `window_seconds` before the
    end where a window is set.
    """
    if policy.condition == RestartCondition.NONE:
        return None
    failed = ended.status.state in FAILURES
    if policy.condition == RestartCondition.ON_FAILURE and not failed:
        return None
    if policy.max_attempts and _ends(policy, ended, history) > policy.max_attempts:
        return None
    return ended.status.timestamp + delay_seconds(policy, quick_ends_after(ended), failed=failed)


def _ends(policy: RestartPolicy, ended: Task, history: Iterable[Task]) -> int:
    since = ended.status.timestamp - policy.window_seconds if policy.window_seconds else 0.0
    return sum(
        1
        for task in history
        if task.spec_version == ended.spec_version
        and task.status.state in BY_ITSELF
        and task.status.timestamp >= since
    )


def is_given_up(policy: RestartPolicy, history: Sequence[Task]) -> bool:
    """Whether a slot without a wanted task stays so; `history` has its tasks, oldest first."""
    last = history[-1]
    if last.status.state in BY_ITSELF:
        return restart_at(policy, last, history) is None
    return policy.condition == RestartCondition.NONE and bool(last.node_id)
