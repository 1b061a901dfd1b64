"""Ends that nobody else will report, and records that nobody needs any more."""

from __future__ import annotations

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import (
    ended_here,
    has_ended,
    is_lost,
    is_unplaced,
    is_wanted,
    wish,
)
from pyswarm.model import Node, Task, TaskState


def end_unreported(draft: Draft) -> None:
    """End what no agent speaks for: unplaced tasks that are not wanted, tasks of removed nodes."""
    for task in list(draft.tasks.values()):
        if has_ended(task):
            continue
        if is_unplaced(task):
            if not is_wanted(task):
                draft.put(ended_here(task, TaskState.SHUTDOWN, "never placed", draft.now))
        elif draft.view.get(Node, task.node_id) is None:
            draft.put(
                ended_here(
                    task, TaskState.ORPHANED, "its node was removed from the swarm", draft.now
                )
            )
        if draft.full:
            return


def remove_all(draft: Draft) -> None:
    """Every task of a service that is gone or going shall be removed."""
    for task in list(draft.tasks.values()):
        if task.desired_state != TaskState.REMOVE:
            draft.put(wish(task, TaskState.REMOVE))
        if draft.full:
            return


def reap(draft: Draft) -> None:
    """Delete the records of tasks that shall be removed and have ended, and old history.

    A task on a node that is down counts as ended here: when the node returns, its agent is told
    what it should run, and stops the rest.
    """
    for task in list(draft.tasks.values()):
        if task.desired_state == TaskState.REMOVE and _is_over(draft, task):
            draft.delete(task)
        if draft.full:
            return
    if draft.service is None:
        return
    limit = _history_limit(draft)
    if limit < 0:
        return
    for slot in list(draft.slots.values()):
        if len(slot.tasks) > limit:
            _trim(draft, slot, limit)
        if draft.full:
            return


def _is_over(draft: Draft, task: Task) -> bool:
    return has_ended(task) or is_unplaced(task) or is_lost(draft.view, task)


def _history_limit(draft: Draft) -> int:
    """How many ended tasks a slot keeps; the restart policy counts on its share."""
    cluster = draft.view.cluster
    limit = cluster.spec.task_history_limit if cluster is not None else 5
    attempts = draft.settled_service.spec.task.restart.max_attempts
    return limit if limit < 0 or not attempts else max(limit, attempts + 1)


def _trim(draft: Draft, slot: Slot, limit: int) -> None:
    ended = [task for task in slot.history if has_ended(task) and not is_wanted(task)]
    for task in ended[: max(len(ended) - limit, 0)]:
        draft.delete(task)
