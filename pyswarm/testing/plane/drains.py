"""A task is told to stop only when nobody begins a connection to it any more, or after the bound.

A task that runs and is not wanted any more must first be out of the way on every node that uses
one of its networks: each of these must have shown, at some moment since then, that it sends the
task nothing new, that it is not up, or that it has no task in the network. Else its container may
get its stop signal only when `BOUND_SECONDS` have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from manager.dispatcher.draining import BOUND_SECONDS
from manager.dispatcher.endpoints import is_reachable
from manager.state import Changed
from manager.state.tables import View
from pyswarm.model import EndpointSet, EndpointState, Node, NodeState, Task, TaskState

DRIFT_SECONDS = 0.1
"""What the clock of a manager may be fast in that time."""

Use = tuple[str, str]
"""A node in a network: (network id, node id)."""


@dataclass(slots=True)
class Drains:
    """`open` has, for each task that is to stop, since when and who has not been seen to know."""

    open: dict[str, tuple[float, set[Use]]] = field(default_factory=dict)
    sets: dict[Use, EndpointSet] = field(default_factory=dict)
    """What each node runs."""

    def entry(self, changes: Iterable[Changed], view: View, now: float) -> None:
        """An entry was applied; `view` is the state after it."""
        tasks = [change for change in changes if change.kind is Task]
        for change in tasks:
            task: Task | None = change.new
            if task is None or task.status.state > TaskState.RUNNING:
                self.open.pop(change.id, None)
            elif task.status.state == TaskState.RUNNING and not task.is_wanted:
                self.open.setdefault(change.id, (now, self._uses(task, view)))
        if self.open and (tasks or any(change.kind is Node for change in changes)):
            for task_id, (_, uses) in self.open.items():
                self._forget_the_away(uses, view)
                self._forget_the_told(task_id, uses)

    def _uses(self, task: Task, view: View) -> set[Use]:
        networks = {attachment.network_id for attachment in task.networks}
        return {(each, node.id) for each in networks for node in view.list(Node)}

    def _forget_the_away(self, uses: set[Use], view: View) -> None:
        for use in list(uses):
            network_id, node_id = use
            node = view.get(Node, node_id)
            up = node is not None and node.status.state == NodeState.READY
            known = node is not None and bool(node.status.address and node.index)
            present = any(
                is_reachable(task) and network_id in {a.network_id for a in task.networks}
                for task in view.tasks_of_node(node_id)
            )
            if not (up and known and present):
                uses.discard(use)

    def _forget_the_told(self, task_id: str, uses: set[Use]) -> None:
        for use in list(uses):
            endpoints = self.sets.get(use)
            if endpoints is None or not _takes(endpoints, task_id):
                uses.discard(use)

    def applied(self, node_id: str, sets: Iterable[EndpointSet]) -> None:
        """A node's overlay runs these sets from now on."""
        for use in [use for use in self.sets if use[1] == node_id]:
            del self.sets[use]
        self.sets |= {(each.network_id, node_id): each for each in sets}
        for task_id, (_, uses) in self.open.items():
            self._forget_the_told(task_id, uses)

    def signalled(self, task_id: str, now: float, fail: Callable[[str], None]) -> None:
        """The container of a task gets its first signal, since its agent knows the wish."""
        since, uses = self.open.get(task_id, (now, set()))
        if uses and now - since < BOUND_SECONDS - DRIFT_SECONDS:
            network_id, node_id = min(uses)
            fail(
                f"task {task_id} is stopped {now - since:.3f} s after it was to stop, while "
                f"{node_id} still sends it connections in network {network_id}"
            )


def _takes(endpoints: EndpointSet, task_id: str) -> bool:
    return any(
        task.task_id == task_id and task.ready and task.state == EndpointState.UP
        for task in endpoints.tasks
    )
