"""All nodes as the scheduler sees them, kept by changes: a late or doubled change is harmless."""

from __future__ import annotations

from typing import Any, Final

from manager.scheduler.nodeinfo import NodeInfo, SpecKey, empty, has_failed, holds, is_wanted
from manager.scheduler.pool import Pool, PoolKey, ValueIndex, pool_key
from manager.state import View
from pyswarm.model import Node, Placement, PlacementStrategy, Task

POOLS_MAX: Final = 256
"""Pools that are kept; of more, those go that were not used for the longest time."""


def strategy_of(view: View) -> PlacementStrategy:
    """The cluster's strategy."""
    cluster = view.cluster
    return cluster.spec.placement_strategy if cluster else PlacementStrategy.SPREAD


class Fleet:
    """`infos` are the nodes by id. `homes` says on which nodes a service has tasks that are wanted,
    and `failing` on which nodes tasks of a spec failed."""

    def __init__(self, strategy: PlacementStrategy = PlacementStrategy.SPREAD) -> None:
        self.strategy = strategy
        self.infos: dict[str, NodeInfo] = {}
        self.homes: dict[str, dict[str, NodeInfo]] = {}
        self.failing: dict[SpecKey, dict[str, NodeInfo]] = {}
        self._index = ValueIndex(self.infos)
        self._pools: dict[PoolKey, Pool] = {}

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

    def pool(self, placement: Placement) -> Pool:
        """The nodes that may have tasks of that placement."""
        key = pool_key(placement)
        found = self._pools.pop(key, None)
        if found is None:
            found = Pool(placement, self.infos, self._index)
            if len(self._pools) >= POOLS_MAX:
                del self._pools[next(iter(self._pools))]
        self._pools[key] = found
        return found

    def put_node(self, node: Node) -> bool:
        """Take in a node, new or changed; answers whether that can matter to a task."""
        old = self.infos.get(node.id)
        if old is not None and _facts(old.node) == _facts(node):
            old.node = node
            return False
        info = empty(node, self.strategy)
        self._forget(node.id)
        self.infos[node.id] = info
        if old is not None:
            info.failed = old.failed
            for key in info.failed:
                self.failing.setdefault(key, {})[node.id] = info
            for task in old.held.values():
                self.hold(info, task)
        self._changed(node.id)
        return True

    def remove_node(self, node_id: str) -> None:
        """Forget a node."""
        if node_id in self.infos:
            self._forget(node_id)
            del self.infos[node_id]
            self._changed(node_id)

    def _forget(self, node_id: str) -> None:
        old = self.infos.get(node_id)
        if old is None:
            return
        for service_id in old.by_service:
            self._leave(self.homes, service_id, node_id)
        for key in old.failed:
            self._leave(self.failing, key, node_id)

    @staticmethod
    def _leave(homes: dict[Any, dict[str, NodeInfo]], key: Any, node_id: str) -> None:
        nodes = homes.get(key, {})
        nodes.pop(node_id, None)
        if not nodes:
            homes.pop(key, None)

    def _changed(self, node_id: str) -> None:
        self._index.forget()
        for pool in self._pools.values():
            pool.note(node_id)

    def put_task(self, task: Task) -> bool:
        """Take in what is said of a task; answers whether something became free."""
        info = self.infos.get(task.node_id)
        if info is None:
            return False
        if holds(task):
            held = info.held.get(task.id)
            if held is None or _weight(held) != _weight(task):
                self._release(info, task.id)
                self.hold(info, task)
            return False
        freed = self._release(info, task.id)
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
            self._leave(self.failing, key, task.node_id)
        return self._release(info, task.id)

    def hold(self, info: NodeInfo, task: Task) -> None:
        """Count a task on a node."""
        info.hold(task)
        if is_wanted(task):
            self.homes.setdefault(task.service_id, {})[info.node.id] = info

    def release(self, node_id: str, task_id: str) -> None:
        """A task that was counted on a node did not come to be there."""
        info = self.infos.get(node_id)
        if info is not None:
            self._release(info, task_id)

    def _release(self, info: NodeInfo, task_id: str) -> bool:
        before = info.order
        task = info.release(task_id)
        if task is None:
            return False
        if task.service_id not in info.by_service:
            self._leave(self.homes, task.service_id, info.node.id)
        self.reordered(info, before)
        return True

    def reordered(self, info: NodeInfo, before: int) -> None:
        """Tell the pools where a node has moved up."""
        if info.order < before:
            for pool in self._pools.values():
                pool.better(info)


def _facts(node: Node) -> tuple[object, ...]:
    """What placement looks at."""
    return (node.spec, node.role, node.description, node.status)


def _weight(task: Task) -> tuple[object, ...]:
    """What a task takes from its node, and whether it counts for the spread."""
    return (
        is_wanted(task),
        task.spec.resources.reservations,
        task.generic_resources,
        task.ports,
        task.service_id,
    )
