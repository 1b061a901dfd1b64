"""Which of the fitting nodes: the one where the task spreads best.

Nodes are leaves of a tree, one level for each spread preference (a label); without preferences all
are in one leaf. A task goes down the branch that has the fewest tasks of its service, and there
takes the best node of a heap: nodes where the spec keeps failing last, then the fewest tasks of the
service, then the fewest tasks in all, then the least id.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from manager.placement.constraint import descriptor_value
from manager.scheduler.nodeinfo import NodeInfo
from manager.scheduler.pipeline import still_fits
from pyswarm.model import Task

Rank = tuple[bool, int, int, str]


@dataclass(slots=True)
class _Branch:
    """Nodes with equal labels so far; `count` is the service's tasks on all of them."""

    count: int = 0
    branches: dict[str, _Branch] = field(default_factory=dict)
    heap: list[tuple[Rank, NodeInfo]] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not self.heap and all(b.is_empty() for b in self.branches.values())


class Spreader:
    """Places the tasks of one spec one after the other on its candidates."""

    def __init__(self, example: Task, nodes: Iterable[NodeInfo], now: float) -> None:
        self._key = (example.service_id, example.spec_version)
        self._now = now
        self._root = _Branch()
        for info in nodes:
            self._insert(info, example.spec.placement.spread)

    def _insert(self, info: NodeInfo, descriptors: tuple[str, ...]) -> None:
        here = info.by_service.get(self._key[0], 0)
        branch = self._root
        branch.count += here
        for descriptor in descriptors:
            branch = branch.branches.setdefault(descriptor_value(info.node, descriptor), _Branch())
            branch.count += here
        heapq.heappush(branch.heap, (self._rank(info), info))

    def _rank(self, info: NodeInfo) -> Rank:
        failing = info.is_failing(self._key, self._now)
        return (failing, info.by_service.get(self._key[0], 0), info.tasks, info.node.id)

    def place(self, task: Task) -> NodeInfo | None:
        """The node for the next task, which is counted there; `None` where all are full."""
        while True:
            path = self._descend()
            if path is None:
                return None
            heap = path[-1].heap
            _, info = heapq.heappop(heap)
            # What does not fit this task fits no later one: they have the same spec, and within
            # one round nothing becomes free.
            if not still_fits(task, info):
                continue
            info.add(task)
            for branch in path:
                branch.count += 1
            heapq.heappush(heap, (self._rank(info), info))
            return info

    def _descend(self) -> list[_Branch] | None:
        path = [self._root]
        while path[-1].branches:
            open_ = [
                (branch.count, label)
                for label, branch in path[-1].branches.items()
                if not branch.is_empty()
            ]
            if not open_:
                return None
            path.append(path[-1].branches[min(open_)[1]])
        return path if path[-1].heap else None
