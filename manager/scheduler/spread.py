"""Which of the fitting nodes: the one that ranks first where the task spreads best.

Nodes are leaves of a tree, one level for each spread preference (a label); without preferences all
are in one leaf. A task goes down the branch that has the fewest tasks of its service, and there
takes the node of the best rank: penalty, the service's tasks on it, then the node's order, which is
that of the cluster's strategy, then the least id. With binpack the service's tasks do not count.

The nodes come out of the fleet's sets in the order of their rank. Only those that were given a task
meanwhile, and those with a penalty, are kept in a heap of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from manager.scheduler.filters import fitting
from manager.scheduler.fleet import Fleet, Touched
from manager.scheduler.masks import Mask, positions
from manager.scheduler.nodeinfo import NodeInfo
from pyswarm.model import PlacementStrategy, Task

Rank = tuple[int, int, int, str]


@dataclass(slots=True)
class _Branch:
    """Nodes with equal values so far. `heap` has the branches below, by the service's tasks on
    them; a leaf has its next nodes in `fresh`, the first of them in `first`, and those that come
    back in `again`. Nodes that were `given` a task come back, too, when it is their turn: none of
    them has fewer of the service than `least`, since they came by that number."""

    mask: Mask
    heap: list[tuple[int, str, _Branch]] = field(default_factory=list)
    is_leaf: bool = True
    fresh: Iterator[tuple[Rank, NodeInfo]] = iter(())
    first: tuple[Rank, NodeInfo] | None = None
    again: list[tuple[Rank, NodeInfo]] = field(default_factory=list)
    given: list[NodeInfo] = field(default_factory=list)
    least: int = 0


class Spreader:
    """Places the tasks of one group one after the other; to be closed. `visits` counts the nodes
    that were looked at."""

    def __init__(self, fleet: Fleet, example: Task, now: float) -> None:
        self._fleet = fleet
        self._key = (example.service_id, example.spec_version)
        self._fits = fitting(example)
        self.visits = 0
        self._last = _Branch(0)
        self._touched: dict[str, Touched] = {}
        masks, placement = fleet.masks, example.spec.placement
        self._spreads = fleet.strategy == PlacementStrategy.SPREAD
        self._counts = fleet.homes.get(example.service_id, {}) if self._spreads else {}
        self._penalties = {
            node_id: penalty
            for node_id, info in fleet.failing.get(self._key, {}).items()
            if (penalty := info.penalty(self._key, now))
        }
        self._root = self._branch(masks.members(placement), placement.spread)

    def _branch(self, mask: Mask, descriptors: tuple[str, ...]) -> _Branch:
        branch = _Branch(mask)
        if descriptors:
            branch.is_leaf = False
            for value, nodes in self._fleet.masks.values(descriptors[0]).items():
                if nodes & mask:
                    below = self._branch(nodes & mask, descriptors[1:])
                    branch.heap.append((self._tasks_on(below.mask), value, below))
            heapq.heapify(branch.heap)
            return branch
        for node_id in self._penalties:
            info = self._fleet.infos[node_id]
            if info.bit & mask:
                mask &= ~info.bit
                branch.again.append((self._rank(info), info))
        heapq.heapify(branch.again)
        branch.fresh = self._fresh(mask)
        branch.first = next(branch.fresh, None)
        return branch

    def _rank(self, info: NodeInfo) -> Rank:
        """The place of a node in its leaf: the least comes first."""
        node_id = info.node.id
        own = info.by_service.get(self._key[0], 0) if self._spreads else 0
        return (self._penalties.get(node_id, 0), own, info.order, node_id)

    def _tasks_on(self, mask: Mask) -> int:
        counts = self._fleet.homes.get(self._key[0], {})
        return sum(count * (nodes & mask).bit_count() for count, nodes in counts.items())

    def _fresh(self, left: Mask) -> Iterator[tuple[Rank, NodeInfo]]:
        """The nodes of a leaf by their rank. Placing moves those that came out already, so they
        are taken off what is left."""
        fleet, counts = self._fleet, self._counts
        for count in (0, *sorted(counts)):
            if count:
                these = counts.get(count, 0) & left
            else:
                these = left
                for nodes in counts.values():
                    these &= ~nodes
            left &= ~these
            for order in sorted(fleet.orders) if these else ():
                cut = fleet.orders.get(order, 0) & these
                these &= ~cut
                for place in positions(cut):
                    info = fleet.ordered[place]
                    yield (0, count, order, info.node.id), info

    def next(self, task: Task) -> NodeInfo | None:
        """The node for the next task, to be followed by `count`; `None` where all are full."""
        root = self._root
        return self._best_of_leaf(root, task) if root.is_leaf else self._best(root, task)

    def _best(self, branch: _Branch, task: Task) -> NodeInfo | None:
        if branch.is_leaf:
            return self._best_of_leaf(branch, task)
        while branch.heap:
            count, value, below = branch.heap[0]
            info = self._best(below, task)
            if info is not None:
                heapq.heapreplace(branch.heap, (count + 1, value, below))
                return info
            heapq.heappop(branch.heap)
        return None

    def _best_of_leaf(self, leaf: _Branch, task: Task) -> NodeInfo | None:
        """What does not fit this task fits no later one: they have the same spec, and within one
        round nothing becomes free."""
        again = leaf.again
        while True:
            found = leaf.first
            if leaf.given and (found is None or found[0][1] >= leaf.least):
                for info in leaf.given:
                    heapq.heappush(again, (self._rank(info), info))
                leaf.given.clear()
            if found is not None and (not again or found < again[0]):
                leaf.first = next(leaf.fresh, None)
                info = found[1]
            elif again:
                info = heapq.heappop(again)[1]
            else:
                return None
            self.visits += 1
            for fits in self._fits:
                if not fits(task, info):
                    break
            else:
                self._last = leaf
                return info

    def count(self, info: NodeInfo, task_id: str, task: Task) -> None:
        """The task is on the node that was found for it; `task` may be another that takes the
        same."""
        node_id = info.node.id
        if node_id not in self._touched:
            own = info.by_service.get(self._key[0], 0)
            self._touched[node_id] = (info, info.order, own)
        info.hold(task_id, task)
        leaf = self._last
        if not leaf.given and self._spreads:
            leaf.least = info.by_service[self._key[0]]
        leaf.given.append(info)

    def close(self) -> None:
        """Let the fleet's sets follow, all nodes at once."""
        self._fleet.follow(self._key[0], self._touched.values())
