"""Tasks on nodes of which nothing is heard: what they may still do there, and for how long."""

from __future__ import annotations

from typing import Final

from manager.state import View
from pyswarm.model import Availability, Node, NodeState, Task, TaskState, is_terminal

ORPHAN_SECONDS: Final = 86400.0
"""After so long a node that is down is not expected back, as in Docker: its tasks have ended, and
what they held is given again."""

MARGIN_SECONDS: Final = 5.0
"""What a lease is waited for beyond its end: the clocks of two managers may differ, and a node that
is busy stops a task late."""


def is_lost(view: View, task: Task) -> bool:
    """Whether the task's node is down or was removed, so that nobody speaks for the task."""
    if not task.node_id:
        return False
    node = view.get(Node, task.node_id)
    return node is None or node.status.state == NodeState.DOWN


def must_leave(view: View, task: Task) -> bool:
    """Whether the task may not stay where it is: the node is lost, or drained."""
    if not task.node_id:
        return False
    node = view.get(Node, task.node_id)
    return (
        node is None
        or node.status.state == NodeState.DOWN
        or node.spec.availability == Availability.DRAIN
    )


def may_return(view: View, task: Task) -> bool:
    """Whether the task's node is down, and may come back with the task still running."""
    node = view.get(Node, task.node_id) if task.node_id else None
    return node is not None and node.status.state == NodeState.DOWN and not node.status.left


def is_forgotten(view: View, task: Task) -> bool:
    """Whether only its address is left of the task: it shall be removed, and its node is down."""
    return task.desired_state == TaskState.REMOVE and may_return(view, task)


def orphaned_at(view: View, task: Task) -> float:
    """When a task that may return counts as ended."""
    return view.require(Node, task.node_id).status.silent_since + ORPHAN_SECONDS


def lost_at(view: View, task: Task) -> float:
    """When the node of a lost task was last heard; 0 where nothing is known of it any more."""
    node = view.get(Node, task.node_id)
    return node.status.silent_since if node is not None else 0.0


def held_until(view: View, task: Task) -> float:
    """Until when a lost task may run, since its node has promised to stop it then; 0: no promise.

    The node stops it `stop_after_seconds` after its last contact, which is not later than the
    managers' own, and then it has its grace. A node that was removed, or that left, holds nothing.
    """
    stop_after = task.spec.stop_after_seconds
    if not stop_after or is_terminal(task.status.state) or not may_return(view, task):
        return 0.0
    grace = task.spec.container.stop_grace_period_seconds
    return lost_at(view, task) + stop_after + grace + MARGIN_SECONDS
