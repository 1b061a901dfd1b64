"""Which of the fitting nodes: the one that ranks first where the task spreads best.

Nodes are leaves of a tree, one level for each spread preference (a label); without preferences all
are in one leaf. A task goes down the branch that has the fewest tasks of its service, and there
takes the node of the best rank: penalty, the service's tasks on it, then the node's order, which is
that of the cluster's strategy, then the least id. With binpack the service's tasks do not count.

Only nodes that have tasks of the service, or a penalty for it, are ranked one by one. All others
come from the heaps of the pool, which many services share.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from manager.scheduler.filters import fitting
from manager.scheduler.fleet import Fleet
from manager.scheduler.nodeinfo import NodeInfo, SpecKey
from manager.scheduler.pool import Path
from pyswarm.model import PlacementStrategy, Task
from pyswarm.wire.remake import remaker

Rank = tuple[int, int, int, str]

_placed = remaker(Task, "node_id", "generic_resources")


def rank(info: NodeInfo, key: SpecKey, now: float) -> Rank:
    """The place of a node among those of its leaf: the least comes first."""
    spread = info.strategy == PlacementStrategy.SPREAD
    own = info.by_service.get(key[0], 0) if spread else 0
    return (info.penalty(key, now), own, info.order, info.node.id)


@dataclass(slots=True)
class _Branch:
    """Nodes with equal values so far; `heap` has the branches below by the service's tasks on
    them, `ranked` the nodes of a leaf that were looked at."""

    path: Path
    count: int = 0
    below: dict[str, _Branch] = field(default_factory=dict)
    heap: list[tuple[int, str, _Branch]] = field(default_factory=list)
    ranked: list[tuple[Rank, NodeInfo]] = field(default_factory=list)


class Spreader:
    """Places the tasks of one group one after the other; `close` when done. `visits` counts the
    nodes that were looked at."""

    def __init__(self, fleet: Fleet, example: Task, now: float) -> None:
        self._fleet = fleet
        self._now = now
        self._key = (example.service_id, example.spec_version)
        self._fits = fitting(example)
        self._wanted = example.spec.resources.reservations.generic
        self._pool = fleet.pool(example.spec.placement)
        self._before: dict[str, int] = {}
        self._seen: set[str] = set()
        self._root = _Branch(())
        self.visits = 0
        self._grow(len(example.spec.placement.spread))

    def _grow(self, depth: int) -> None:
        if depth:
            for path in self._pool.leaves:
                self._leaf(path)
        service_id = self._key[0]
        homes = self._fleet.homes.get(service_id, {})
        for node_id in {**homes, **self._fleet.failing.get(self._key, {})}:
            path = self._pool.members.get(node_id)
            if path is None:
                continue
            info = self._fleet.infos[node_id]
            own = info.by_service.get(service_id, 0)
            branch = self._root
            branch.count += own
            for value in path:
                branch = branch.below[value]
                branch.count += own
            self._seen.add(node_id)
            branch.ranked.append((rank(info, self._key, self._now), info))
        self._arrange(self._root)

    def _leaf(self, path: Path) -> None:
        branch = self._root
        for depth, value in enumerate(path, 1):
            branch = branch.below.setdefault(value, _Branch(path[:depth]))

    def _arrange(self, branch: _Branch) -> None:
        heapq.heapify(branch.ranked)
        branch.heap = [(each.count, value, each) for value, each in branch.below.items()]
        heapq.heapify(branch.heap)
        for each in branch.below.values():
            self._arrange(each)

    def place(self, task: Task) -> Task | None:
        """The task on its node, where it is counted; `None` where all nodes are full."""
        info = self._best(self._root, task)
        if info is None:
            return None
        self._before.setdefault(info.node.id, info.order)
        placed: Task = _placed(task, info.node.id, info.claim(self._wanted))
        self._fleet.hold(info, placed)
        branch = self._root
        for value in self._pool.members[info.node.id]:
            branch = branch.below[value]
        heapq.heappush(branch.ranked, (rank(info, self._key, self._now), info))
        return placed

    def _best(self, branch: _Branch, task: Task) -> NodeInfo | None:
        if not branch.below:
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
        ranked, pool = leaf.ranked, self._pool
        while True:
            info = pool.top(leaf.path, self._seen)
            if info is not None and (
                not ranked or (0, 0, info.order, info.node.id) < ranked[0][0]
            ):
                pool.pop(leaf.path)
                self._seen.add(info.node.id)
            elif ranked:
                info = heapq.heappop(ranked)[1]
            else:
                return None
            self.visits += 1
            if all(check(task, info) for check in self._fits):
                return info

    def close(self) -> None:
        """Give the nodes back to the pool, and tell the others which have moved up."""
        for node_id, before in self._before.items():
            self._fleet.reordered(self._fleet.infos[node_id], before)
        for node_id in self._seen:
            info = self._fleet.infos[node_id]
            self._pool.push(self._pool.members[node_id], info)
