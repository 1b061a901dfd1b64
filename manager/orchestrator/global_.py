"""Global services: one task on every node that takes tasks and fits."""

from __future__ import annotations

from manager.orchestrator.restart import is_done, settle
from manager.orchestrator.slots import Draft
from manager.orchestrator.tasks import has_ended, is_current, wish
from manager.placement.fit import node_fits
from manager.placement.lost import may_return, must_leave
from pyswarm.model import Availability, Node, NodeState, Service, Task, TaskState


def takes_new(service: Service, node: Node) -> bool:
    """Whether the node shall have a task of the service, if it has none."""
    return (
        node.status.state == NodeState.READY
        and node.spec.availability == Availability.ACTIVE
        and node_fits(service.spec.task, node)
    )


def _awaits_node(draft: Draft, task: Task) -> bool:
    """Whether a node that is down may return with a task that is still the right one."""
    return may_return(draft.view, task) and is_current(draft.settled_service, task)


def plan_global(draft: Draft) -> None:
    """Fill each fitting node, empty each that no longer fits; a paused one stays as it is."""
    service = draft.settled_service
    nodes = {node.id: node for node in draft.view.list(Node)}
    keys = {key for key in draft.slots if isinstance(key, str)} | nodes.keys()
    for key in sorted(keys):
        slot, node = draft.slot(key), nodes.get(key)
        takes = node is not None and takes_new(service, node)
        for task in slot.wanted:
            misfit = node is not None and not node_fits(service.spec.task, node)
            leaves = must_leave(draft.view, task) and not _awaits_node(draft, task)
            if leaves or misfit or (has_ended(task) and not takes):
                draft.put(wish(task, TaskState.SHUTDOWN))
        settle(draft, slot, replace_lost=False)
        if takes and not slot.wanted and not is_done(draft, slot):
            draft.create(key)
        if node is None:
            for task in list(slot.tasks.values()):
                draft.put(wish(task, TaskState.REMOVE))
        if draft.full:
            return
