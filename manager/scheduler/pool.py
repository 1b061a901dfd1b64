"""Nodes that may have the tasks of a specification, by what does not change as tasks come and go.

A pool belongs to constraints, platforms and spread preferences. Many services share one, so the
constraints of a service are evaluated once for a set of nodes and not once for a task; and its heaps
have the best node on top without a look at the others. Services of one cluster use few keys with
few values, so the index of values makes a new pool by set operations.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final

from manager.placement.constraint import (
    descriptor_value,
    matches,
    parse,
    satisfied,
    value_key,
)
from manager.placement.fit import platform_fits
from manager.scheduler.nodeinfo import NodeInfo
from pyswarm.errors import InvalidArgument
from pyswarm.model import Availability, Node, NodeState, Placement

PoolKey = tuple[tuple[str, ...], object, tuple[str, ...]]
Path = tuple[str, ...]
"""The node's values under the spread preferences, in their order."""

Entry = tuple[int, str]
"""A node's order and id."""

STALE_MAX: Final = 4
"""A heap with this many entries for each of its nodes is made again."""


def pool_key(placement: Placement) -> PoolKey:
    """What makes the pools of two specifications one."""
    return (placement.constraints, placement.platforms, placement.spread)


def takes_tasks(node: Node) -> bool:
    """Whether the node is there and takes new tasks."""
    return node.status.state == NodeState.READY and node.spec.availability == Availability.ACTIVE


class ValueIndex:
    """Key -> value -> ids of the nodes that have it; made when a key is first asked for."""

    def __init__(self, infos: Mapping[str, NodeInfo]) -> None:
        self._infos = infos
        self._keys: dict[str, dict[str, set[str]]] = {}
        self._ready: set[str] | None = None

    def forget(self) -> None:
        """A node has changed."""
        self._keys.clear()
        self._ready = None

    def select(self, constraints: tuple[str, ...]) -> set[str]:
        """The nodes that take tasks and satisfy all constraints."""
        if self._ready is None:
            self._ready = {key for key, info in self._infos.items() if takes_tasks(info.node)}
        found = self._ready
        try:
            parsed = [parse(text) for text in constraints]
        except InvalidArgument:
            return set()
        for each in parsed:
            if each.key == "node.ip":
                found = {key for key in found if matches(each, self._infos[key].node)}
                continue
            same = self._values(each.key).get(value_key(each.key, each.value), set())
            found = found & same if each.equal else found - same
        return set(found)

    def _values(self, key: str) -> dict[str, set[str]]:
        values = self._keys.get(key)
        if values is None:
            values = self._keys[key] = {}
            for node_id, info in self._infos.items():
                value = value_key(key, descriptor_value(info.node, key))
                values.setdefault(value, set()).add(node_id)
        return values


class Pool:
    """The members with their paths, and for each path a heap of its nodes.

    An entry that is worse than its node is dropped, since a better one was pushed; one that is
    better than its node is put right when it comes to the top. So a node that gets worse, as nodes
    do while tasks are placed, costs nothing here.
    """

    def __init__(
        self, placement: Placement, infos: Mapping[str, NodeInfo], index: ValueIndex
    ) -> None:
        self._placement = placement
        self._infos = infos
        self.members: dict[str, Path] = {}
        self.leaves: dict[Path, list[Entry]] = {}
        platforms, known = placement.platforms, dict[object, bool]()
        for node_id in index.select(placement.constraints):
            info = infos[node_id]
            has = info.node.description.platform
            if has not in known:
                known[has] = platform_fits(platforms, info.node)
            if known[has]:
                path = self._path(info.node)
                self.members[node_id] = path
                self.leaves.setdefault(path, []).append((info.order, node_id))
        for heap in self.leaves.values():
            heapq.heapify(heap)

    def _path(self, node: Node) -> Path:
        return tuple([descriptor_value(node, each) for each in self._placement.spread])

    def note(self, node_id: str) -> None:
        """A node came, went or changed its facts."""
        self.members.pop(node_id, None)
        info = self._infos.get(node_id)
        if info is None or not takes_tasks(info.node):
            return
        placement = self._placement
        fits = satisfied(placement.constraints, info.node)
        if fits and platform_fits(placement.platforms, info.node):
            path = self.members[node_id] = self._path(info.node)
            self.push(path, info)

    def better(self, info: NodeInfo) -> None:
        """A node has moved up."""
        path = self.members.get(info.node.id)
        if path is not None:
            self.push(path, info)

    def push(self, path: Path, info: NodeInfo) -> None:
        """Enter a member at its present order."""
        heap = self.leaves.setdefault(path, [])
        if len(heap) > STALE_MAX * len(self.members) + STALE_MAX:
            heap[:] = [
                (self._infos[key].order, key) for key, at in self.members.items() if at == path
            ]
            heapq.heapify(heap)
        else:
            heapq.heappush(heap, (info.order, info.node.id))

    def top(self, path: Path, seen: set[str]) -> NodeInfo | None:
        """The best node of a leaf that is not among `seen`; it stays there."""
        heap = self.leaves.get(path, [])
        while heap:
            order, node_id = heap[0]
            if node_id not in seen and self.members.get(node_id) == path:
                info = self._infos[node_id]
                if info.order == order:
                    return info
                if info.order > order:
                    heapq.heapreplace(heap, (info.order, node_id))
                    continue
            heapq.heappop(heap)
        return None

    def pop(self, path: Path) -> None:
        """Take the top off; who does pushes the node again."""
        heapq.heappop(self.leaves[path])
