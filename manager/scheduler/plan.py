"""PENDING to ASSIGNED: a node for each task, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from manager.scheduler.backlog import Backlog, GroupKey
from manager.scheduler.filters import passes, summary
from manager.scheduler.fleet import Fleet
from manager.scheduler.spread import Spreader
from manager.state import View
from pyswarm.core import NEVER
from pyswarm.model import Task
from pyswarm.wire.remake import remaker

LIMIT: Final = 1000
"""Work of one round, in decisions; the loop of the process waits for it."""

VISITS: Final = 5
"""Nodes that may be looked at in the time of one decision."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`placed`: the tasks by id, with their nodes and what they are given of them. `refused`: task
    id -> why it has no node, where that is news. `wake_at` is when the next task may start; `more`
    says that the round stopped at its limit."""

    placed: Mapping[str, Task]
    refused: Mapping[str, str]
    wake_at: float = NEVER
    more: bool = False


@dataclass(slots=True)
class _Round:
    fleet: Fleet
    backlog: Backlog
    now: float
    limit: int
    work: int = 0
    placed: dict[str, Task] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.work >= self.limit

    def refuse(self, task: Task, reason: str) -> None:
        self.work += 1
        if task.status.error != reason:
            self.refused[task.id] = reason


def plan(fleet: Fleet, backlog: Backlog, now: float, limit: int = LIMIT) -> Plan:
    """Place the tasks of `backlog` on the nodes of `fleet`; both are changed as if that were done.

    Tasks of one spec version are one group: what is the same for all is asked once. Tasks that
    have their node from the start (global services) come first, since they have no other choice.
    """
    wake_at = backlog.wake(now)
    turn = _Round(fleet, backlog, now, limit)
    for task in list(backlog.bound.values()):
        if turn.is_over:
            break
        _place_bound(turn, task)
    for key in backlog.ready():
        if turn.is_over:
            break
        _place_group(turn, key)
    return Plan(turn.placed, turn.refused, wake_at, more=not backlog.is_empty)


def plan_view(view: View, now: float, limit: int = LIMIT) -> Plan:
    """The first round on a view of which nothing is known."""
    return plan(Fleet.of(view), Backlog.of(view, now), now, limit)


def _place_bound(turn: _Round, task: Task) -> None:
    info = turn.fleet.infos.get(task.node_id)
    if info is None or not passes(task, info):
        turn.refuse(task, summary(task, [info] if info else []))
        turn.backlog.park_bound(task)
        return
    before = info.order
    placed: Task = _given(task, info.claim(task.spec.resources.reservations.generic))
    turn.fleet.hold(info, placed)
    turn.fleet.reordered(info, before)
    turn.work += 1
    turn.placed[task.id] = placed
    turn.backlog.discard(task)


_given = remaker(Task, "generic_resources")


def _place_group(turn: _Round, key: GroupKey) -> None:
    """Place what fits, and tell the others why not; a group that is cut stays ready."""
    tasks = turn.backlog.group(key)
    spreader = Spreader(turn.fleet, tasks[0], turn.now)
    reason, refused = "", False
    for task in tasks:
        if turn.is_over:
            break
        placed = None if refused else spreader.place(task)
        if placed is not None:
            turn.work += 1
            turn.placed[task.id] = placed
            turn.backlog.discard(task)
            continue
        if not refused:
            # One reason serves the group: the same spec meets the same nodes.
            reason, refused = summary(task, turn.fleet.infos.values()), True
            turn.work += len(turn.fleet.infos) // VISITS
        turn.refuse(task, reason)
    else:
        if refused:
            turn.backlog.park(key)
    turn.work += spreader.visits // VISITS
    spreader.close()
