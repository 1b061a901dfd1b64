"""All nodes as the scheduler sees them, kept by changes: a late or doubled change is harmless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from manager.placement.failures import has_failed
from manager.scheduler.masks import Mask, Masks
from manager.scheduler.nodeinfo import NodeInfo, SpecKey, empty, holds
from manager.state import View
from pyswarm.model import Node, PlacementStrategy, Task


def strategy_of(view: View) -> PlacementStrategy:
    """The cluster's strategy."""
    cluster = view.cluster
    return cluster.spec.placement_strategy if cluster else PlacementStrategy.SPREAD


Touched = tuple[NodeInfo, int, int]
"""A node, and what its order and the number of the service's tasks on it were before."""


class Fleet:
    """`infos` are the nodes by id, `ordered` those by their place in the masks.

    `orders` has the nodes of each order, and `homes` those of each number of a service's tasks,
    so that the next best node is found without a look at the others. `failing` says where tasks of
    a spec failed.
    """

    def __init__(self, strategy: PlacementStrategy = PlacementStrategy.SPREAD) -> None:
        self.strategy = strategy
        self.infos: dict[str, NodeInfo] = {}
        self.failing: dict[SpecKey, dict[str, NodeInfo]] = {}
        self.ordered: list[NodeInfo] = []
        self.orders: dict[int, Mask] = {}
        self.homes: dict[str, dict[int, Mask]] = {}
        self._masks: Masks | None = None
        self._numbered = True

    @staticmethod
    def of(view: View) -> Fleet:
        """The nodes with their tasks as of `view`."""
        fleet = Fleet(strategy_of(view))
        for node in view.list(Node):
            fleet.put_node(node)
        for node_id in fleet.infos:
            for task in view.tasks_of_node(node_id):
                fleet.put_task(task)
        return fleet

    @property
    def masks(self) -> Masks:
        """The sets of the nodes of now."""
        if not self._numbered:
            self._number()
        if self._masks is None:
            self._masks = Masks([info.node for info in self.ordered])
        return self._masks

    def _number(self) -> None:
        """Give each node its bit."""
        self.ordered = [self.infos[key] for key in sorted(self.infos)]
        self.orders, self.homes, self._numbered = {}, {}, True
        for place, info in enumerate(self.ordered):
            info.bit = 1 << place
            self.orders[info.order] = self.orders.get(info.order, 0) | info.bit
            for service_id, count in info.by_service.items():
                counts = self.homes.setdefault(service_id, {})
                counts[count] = counts.get(count, 0) | info.bit

    def put_node(self, node: Node) -> bool:
        """Take in a node, new or changed; answers whether that can matter to a task."""
        old = self.infos.get(node.id)
        if old is not None and _facts(old.node) == _facts(node):
            old.node = node
            return False
        info = self.infos[node.id] = empty(node, self.strategy)
        if old is not None:
            info.failed = old.failed
            for key in info.failed:
                self.failing[key][node.id] = info
            for task_id, task in old.held.items():
                info.hold(task_id, task)
        self._numbered, self._masks = False, None
        return True

    def remove_node(self, node_id: str) -> None:
        """Forget a node."""
        old = self.infos.pop(node_id, None)
        if old is not None:
            for key in old.failed:
                self._forgive(key, node_id)
            self._numbered, self._masks = False, None

    def put_task(self, task: Task) -> bool:
        """Take in what is said of a task; answers whether something became free."""
        info = self.infos.get(task.node_id)
        if info is None:
            return False
        if holds(task):
            held = info.held.get(task.id)
            if held is None or _weight(held) != _weight(task):
                self.release(info, task.id)
                self.hold(info, task)
            return False
        freed = self.release(info, task.id)
        if has_failed(task):
            key = (task.service_id, task.spec_version)
            info.failed.setdefault(key, {})[task.id] = task.status.timestamp
            self.failing.setdefault(key, {})[task.node_id] = info
        return freed

    def drop_task(self, task: Task) -> bool:
        """Forget a task whose record is gone; answers whether something became free."""
        info = self.infos.get(task.node_id)
        if info is None:
            return False
        key = (task.service_id, task.spec_version)
        failed = info.failed.get(key)
        if failed is not None and failed.pop(task.id, None) is not None and not failed:
            del info.failed[key]
            self._forgive(key, task.node_id)
        return self.release(info, task.id)

    def _forgive(self, key: SpecKey, node_id: str) -> None:
        nodes = self.failing[key]
        del nodes[node_id]
        if not nodes:
            del self.failing[key]

    def hold(self, info: NodeInfo, task: Task) -> None:
        """Count a task on a node."""
        before = info.order
        info.hold(task.id, task)
        if not self._numbered:
            return
        if info.order != before:
            _take(self.orders, info.bit, before)
            _give(self.orders, info.bit, info.order)
        if task.is_wanted:
            counts = self.homes.setdefault(task.service_id, {})
            count = info.by_service[task.service_id]
            if count > 1:
                _take(counts, info.bit, count - 1)
            _give(counts, info.bit, count)

    def follow(self, service_id: str, touched: Iterable[Touched]) -> None:
        """Let the sets follow nodes that were given tasks of a service, which are wanted."""
        counts = self.homes.setdefault(service_id, {})
        moves: dict[tuple[int, int, int, int], Mask] = {}
        for info, order, own in touched:
            move = (order, info.order, own, info.by_service[service_id])
            moves[move] = moves.get(move, 0) | info.bit
        for (order, order_now, own, own_now), bits in moves.items():
            _take(self.orders, bits, order)
            _give(self.orders, bits, order_now)
            if own:
                _take(counts, bits, own)
            _give(counts, bits, own_now)
        if not counts:
            del self.homes[service_id]

    def release(self, info: NodeInfo, task_id: str) -> bool:
        """Count a task on a node no longer; answers whether it was."""
        before = info.order
        task = info.release(task_id)
        if task is None:
            return False
        if not self._numbered:
            return True
        if info.order != before:
            _take(self.orders, info.bit, before)
            _give(self.orders, info.bit, info.order)
        if task.is_wanted:
            counts = self.homes[task.service_id]
            count = info.by_service.get(task.service_id, 0)
            _take(counts, info.bit, count + 1)
            if count:
                _give(counts, info.bit, count)
            elif not counts:
                del self.homes[task.service_id]
        return True


def _give(sets: dict[int, Mask], bit: Mask, key: int) -> None:
    sets[key] = sets.get(key, 0) | bit


def _take(sets: dict[int, Mask], bit: Mask, key: int) -> None:
    rest = sets[key] & ~bit
    if rest:
        sets[key] = rest
    else:
        del sets[key]


def _facts(node: Node) -> tuple[Any, ...]:
    """What placement looks at."""
    return (node.spec, node.role, node.description, node.status)


def _weight(task: Task) -> tuple[Any, ...]:
    """What a task takes from its node, and whether it counts for the spread."""
    return (
        task.is_wanted,
        task.spec.resources.reservations,
        task.generic_resources,
        task.ports,
        task.service_id,
    )
