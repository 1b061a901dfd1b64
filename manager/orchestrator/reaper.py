"""Ends that nobody else will report, and records that nobody needs any more."""

from __future__ import annotations

from manager.orchestrator.slots import Draft, Slot
from manager.orchestrator.tasks import (
    ended_here,
    has_ended,
    is_unplaced,
    wish,
)
from manager.placement.failures import FAILURES_MAX, forgiven_at, has_failed, is_recent
from manager.placement.lost import is_lost, orphaned_at
from pyswarm.model import Node, Task, TaskState


def end_unreported(draft: Draft) -> None:
    """End what no agent speaks for: unplaced tasks that are not wanted, and those of nodes that
    were removed, have left, or are down for a day."""
    for task in list(draft.tasks.values()):
        if has_ended(task):
            continue
        if is_unplaced(task):
            if not task.is_wanted:
                draft.put(ended_here(task, TaskState.SHUTDOWN, "never placed", draft.now))
        elif is_lost(draft.view, task):
            _orphan(draft, task)
        if draft.full:
            return


def _orphan(draft: Draft, task: Task) -> None:
    node = draft.view.get(Node, task.node_id)
    message = "its node was removed from the swarm"
    if node is not None and node.status.left:
        message = "its node left the swarm"
    elif node is not None:
        at = orphaned_at(draft.view, task)
        if at > draft.now:
            draft.wake(at)
            return
        message = "its node is down for too long"
    draft.put(ended_here(task, TaskState.ORPHANED, message, draft.now))


def remove_all(draft: Draft) -> None:
    """Every task of a service that is gone or going shall be removed."""
    for task in list(draft.tasks.values()):
        if task.desired_state != TaskState.REMOVE:
            draft.put(wish(task, TaskState.REMOVE))
        if draft.full:
            return


def reap(draft: Draft) -> None:
    """Delete the records of tasks that shall be removed and have ended, and old history.

    The record of a task on a node that is down stays, since with it its address would go to
    another: when the node returns, its agent says that the task has ended.
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
    return has_ended(task) or is_unplaced(task)


def _history_limit(draft: Draft) -> int:
    """How many ended tasks a slot keeps; the restart policy counts on its share, and an update on
    the one by which a slot has failed."""
    cluster, service = draft.view.cluster, draft.settled_service
    limit = cluster.spec.task_history_limit if cluster is not None else 5
    if limit < 0:
        return limit
    attempts = service.spec.task.restart.max_attempts
    return max(limit, attempts + 1 if attempts else 0, int(service.update_status.state.is_running))


def _trim(draft: Draft, slot: Slot, limit: int) -> None:
    """Keep the newest, and as many failures as count against a node, as long as they do: where the
    slot's next task goes depends on them."""
    ended = [task for task in slot.history if has_ended(task) and not task.is_wanted]
    for place, task in enumerate(reversed(ended), start=1):
        if place <= limit:
            continue
        failed_at = task.status.timestamp
        if place <= FAILURES_MAX and has_failed(task) and is_recent(failed_at, draft.now):
            draft.wake(forgiven_at(failed_at))
        else:
            draft.delete(task)
