"""Tasks that no longer belong where they run, since the node's labels or size changed."""

from __future__ import annotations

from manager.orchestrator.slots import Draft
from manager.orchestrator.tasks import has_ended, is_unplaced, wish
from manager.placement.fit import node_fits, size_fits
from pyswarm.model import Availability, Node, TaskState


def enforce(draft: Draft) -> None:
    """Stop each such task; its slot is then empty, and is filled where it fits.

    The task ends as SHUTDOWN when its agent says so. (Docker writes REJECTED while the container
    still runs, and gives its address away.) Only nodes that take tasks are judged: a paused one
    is left alone, and a drained one empties anyway.
    """
    for task in list(draft.tasks.values()):
        if not task.is_wanted or has_ended(task) or is_unplaced(task):
            continue
        node = draft.view.get(Node, task.node_id)
        if node is None or node.spec.availability != Availability.ACTIVE:
            continue
        # The task's own spec counts: what an update brings is the update's to roll out.
        if not (node_fits(task.spec, node) and size_fits(task.spec, node)):
            draft.put(wish(task, TaskState.SHUTDOWN))
        if draft.full:
            return
