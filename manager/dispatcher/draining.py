"""Stops that wait until nobody begins a connection to their task any more.

A running task that shall stop is DRAINING in its endpoint sets at once. The wish to stop itself is
withheld from its node until every node that uses one of its networks has said that it applied a
set with that (for ingress networks: every node), or until `BOUND_SECONDS` have passed. Nothing of
this is stored: a new leader withholds again what is not stopped yet, and an agent that was told
before keeps to what it was told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pyswarm.core import NEVER
from pyswarm.model import EndpointSet, ResolutionMode, Task, TaskState

BOUND_SECONDS: Final = 5.0
"""A host that is up and does not answer may hold a stop for so long."""
NAME_SECONDS: Final = 1.0
"""The names of a service without virtual address lead to the tasks themselves, and who asked just
before may use the answer for its time to live (`TASK_TTL_SECONDS` in overlay/zone.py)."""


@dataclass(slots=True)
class _Stop:
    node_id: str
    needed: dict[str, int]
    """The version of each network's set in which the task is DRAINING."""
    names_seconds: float
    due: float
    is_acknowledged: bool = False
    released: bool = False


def takes_connections(task: Task) -> bool:
    """Whether somebody may hold a way to the task, as far as its node has told."""
    return bool(task.networks) and task.status.state == TaskState.RUNNING


@dataclass(slots=True)
class Draining:
    """The machine of all withheld stops of one leadership; times are monotonic seconds."""

    _stops: dict[str, _Stop] = field(default_factory=dict)
    _applied: dict[tuple[str, str], int] = field(default_factory=dict)
    """The version of each (network, node) that the node says it has applied."""

    def consider(self, task: Task, sets: Mapping[str, EndpointSet], now: float) -> None:
        """A task as it was committed; `sets` were derived from it or from something newer."""
        if task.is_wanted or not takes_connections(task):
            self._stops.pop(task.id, None)
            return
        if task.id in self._stops:
            return
        networks = {a.network_id for a in task.networks} & sets.keys()
        by_name = any(
            service.service_id == task.service_id and service.mode == ResolutionMode.DNSRR
            for network_id in networks
            if not sets[network_id].ingress
            for service in sets[network_id].services
        )
        self._stops[task.id] = _Stop(
            node_id=task.node_id,
            needed={network_id: sets[network_id].version for network_id in networks},
            names_seconds=NAME_SECONDS if by_name else 0.0,
            due=now + BOUND_SECONDS,
        )

    def forget(self, task_id: str) -> None:
        """The task's record is gone."""
        self._stops.pop(task_id, None)

    def applied(self, network_id: str, node_id: str, version: int) -> None:
        """A node says which version it runs."""
        self._applied[network_id, node_id] = version

    def advance(
        self, sets: Mapping[str, EndpointSet], live: Collection[str], now: float
    ) -> list[str]:
        """Release what need not wait any longer; `live` are the ids of the nodes that are up.
        Answers the nodes that have news by that."""
        news: dict[str, None] = {}
        for stop in self._stops.values():
            if stop.released:
                continue
            if not stop.is_acknowledged and self._all_have(stop, sets, live):
                stop.is_acknowledged = True
                stop.due = now + stop.names_seconds
            if now >= stop.due:
                stop.released = True
                news[stop.node_id] = None
        return list(news)

    def _all_have(
        self, stop: _Stop, sets: Mapping[str, EndpointSet], live: Collection[str]
    ) -> bool:
        return all(
            self._applied.get((network_id, node.node_id), 0) >= version
            for network_id, version in stop.needed.items()
            if network_id in sets
            for node in sets[network_id].nodes
            if node.node_id in live
        )

    def deadline(self) -> float:
        """When the next stop goes out although nobody says more."""
        return min((s.due for s in self._stops.values() if not s.released), default=NEVER)

    def as_told(self, task: Task) -> Task:
        """The task as its node shall know it now. One that was not considered yet is withheld too:
        its commit is seen here before the sets that follow from it are derived."""
        if task.is_wanted or not takes_connections(task):
            return task
        stop = self._stops.get(task.id)
        if stop is not None and stop.released:
            return task
        return replace(task, desired_state=TaskState.RUNNING)
