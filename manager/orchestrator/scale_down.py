"""Which replicas go when a service is scaled down.

First those that do not run, then those on nodes that are not ready or take no tasks, then those on
nodes where tasks of the service failed lately. Of the others each one is taken from the branch of
the spread preferences that has the most tasks, there from the node that has the most (with binpack:
the fewest, so that nodes become free), and there it is the one of the highest number.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict

from manager.orchestrator.slots import Draft, Slot
from manager.placement.constraint import descriptor_value
from manager.placement.failures import has_failed, is_recent
from pyswarm.model import Availability, Node, NodeState, PlacementStrategy

Grade = tuple[int, int]
"""How gladly a slot is given up: what is wrong with it, and how often that happened."""

_NOT_RUNNING, _NOT_READY, _FAILING, _GOOD = 3, 2, 1, 0


def victims(draft: Draft, occupied: list[Slot], count: int) -> list[Slot]:
    """The slots to give up, in the order of `occupied`."""
    chosen = _Choice(draft, occupied).take(count)
    return [slot for slot in occupied if slot.key in chosen]


class _Choice:
    """The slots by node and grade; `on` counts those of each branch and of each node."""

    def __init__(self, draft: Draft, occupied: list[Slot]) -> None:
        self._draft = draft
        cluster = draft.view.cluster
        self._packs = (
            cluster is not None and cluster.spec.placement_strategy == PlacementStrategy.BINPACK
        )
        self._descriptors = draft.settled_service.spec.task.placement.spread
        self._failures = Counter(
            task.node_id
            for task in draft.tasks.values()
            if has_failed(task) and is_recent(task.status.timestamp, draft.now)
        )
        self._on: Counter[tuple[str, ...]] = Counter()
        self._paths: dict[str, tuple[str, ...]] = {}
        self._slots: dict[tuple[Grade, str], list[int]] = defaultdict(list)
        for slot in occupied:
            node_id = next((task.node_id for task in slot.wanted if task.node_id), "")
            self._slots[self._grade(slot, node_id), node_id].append(int(slot.key))
            self._paths[node_id] = self._path(node_id)
            self._count(node_id, 1)

    def _path(self, node_id: str) -> tuple[str, ...]:
        node = self._draft.view.get(Node, node_id)
        if node is None:
            return (node_id,)
        values = (descriptor_value(node, each).lower() for each in self._descriptors)
        return (*values, node_id)

    def _count(self, node_id: str, change: int) -> None:
        path = self._paths[node_id]
        for depth in range(1, len(path) + 1):
            self._on[path[:depth]] += change

    def _grade(self, slot: Slot, node_id: str) -> Grade:
        if not slot.is_running:
            return (_NOT_RUNNING, 0)
        node = self._draft.view.get(Node, node_id)
        if (
            node is None
            or node.status.state != NodeState.READY
            or node.spec.availability != Availability.ACTIVE
        ):
            return (_NOT_READY, 0)
        failures = self._failures[node_id]
        return (_FAILING, failures) if failures else (_GOOD, 0)

    def take(self, count: int) -> set[int]:
        """The numbers of the slots to give up."""
        heap: list[tuple[tuple[int, ...], Grade, str]] = []
        for (grade, node_id), numbers in self._slots.items():
            numbers.sort()
            heap.append(self._entry(grade, node_id))
        heapq.heapify(heap)
        taken: set[int] = set()
        while heap and len(taken) < count:
            rank, grade, node_id = heapq.heappop(heap)
            entry = self._entry(grade, node_id)
            if entry[0] > rank:
                # Its branch has lost a task meanwhile; counts only fall, so it is not further up.
                heapq.heappush(heap, entry)
                continue
            numbers = self._slots[grade, node_id]
            taken.add(numbers.pop())
            self._count(node_id, -1)
            if numbers:
                heapq.heappush(heap, self._entry(grade, node_id))
        return taken

    def _entry(self, grade: Grade, node_id: str) -> tuple[tuple[int, ...], Grade, str]:
        path = self._paths[node_id]
        branches = [-self._on[path[:depth]] for depth in range(1, len(path))]
        own = self._on[path]
        place = own if self._packs else -own
        highest = self._slots[grade, node_id][-1]
        return ((-grade[0], -grade[1], *branches, place, -highest), grade, node_id)
