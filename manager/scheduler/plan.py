"""PENDING to ASSIGNED: a node for each task, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from manager.placement.volumes import Homes
from manager.scheduler.backlog import Backlog, GroupKey
from manager.scheduler.filters import passes, summary
from manager.scheduler.fleet import Fleet
from manager.scheduler.nodeinfo import NodeInfo
from manager.scheduler.spread import Spreader
from manager.state import View
from pyswarm.core import NEVER
from pyswarm.model import GenericResource, Task

LIMIT: Final = 1000
"""Work of one round, in decisions; the loop of the process waits for it."""

VISITS: Final = 5
"""Nodes that may be looked at in the time of one decision."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`placed`: task id -> node id. `claimed`: task id -> the generic resources that it is given,
    where it asked for some. `refused`: task id -> why it has no node, where that is news. `wake_at`
    is when the next task may start; `more` says that the round stopped at its limit."""

    placed: Mapping[str, str]
    refused: Mapping[str, str]
    claimed: Mapping[str, tuple[GenericResource, ...]]
    wake_at: float = NEVER
    more: bool = False


@dataclass(slots=True)
class _Round:
    fleet: Fleet
    backlog: Backlog
    now: float
    limit: int
    homes: Homes | None
    work: int = 0
    placed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, tuple[GenericResource, ...]] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.work >= self.limit

    def with_claim(self, task: Task, info: NodeInfo) -> Task:
        """The task with what it asks for of the node's generic resources."""
        wanted = task.spec.resources.reservations.generic
        if not wanted:
            return task
        pieces = self.claimed[task.id] = info.claim(wanted)
        return replace(task, generic_resources=pieces)

    def refuse(self, task: Task, reason: str) -> None:
        if task.status.error != reason:
            self.work += 1
            self.refused[task.id] = reason


def plan(
    fleet: Fleet,
    backlog: Backlog,
    now: float,
    limit: int = LIMIT,
    homes: Homes | None = None,
) -> Plan:
    """Place the tasks of `backlog` on the nodes of `fleet`; both are changed as if that were done.

    Tasks of one spec version are one group: what is the same for all is asked once. Tasks that
    have their node from the start (global services) come first, since they have no other choice.
    """
    wake_at = backlog.wake(now)
    turn = _Round(fleet, backlog, now, limit, homes)
    for task in sorted(backlog.bound.values(), key=lambda task: task.id):
        if turn.is_over:
            break
        _place_bound(turn, task)
    for key in backlog.ready():
        if turn.is_over:
            break
        _place_group(turn, key)
    return Plan(turn.placed, turn.refused, turn.claimed, wake_at, more=not backlog.is_empty)


def plan_view(view: View, now: float, limit: int = LIMIT) -> Plan:
    """The first round on a view of which nothing is known."""
    return plan(Fleet.of(view), Backlog.of(view, now), now, limit, Homes(view))


def _place_bound(turn: _Round, task: Task) -> None:
    info = turn.fleet.infos.get(task.node_id)
    if info is None or not passes(task, info):
        turn.refuse(task, summary(task, [info] if info else []))
        turn.backlog.park_bound(task)
        return
    turn.fleet.hold(info, turn.with_claim(task, info))
    turn.work += 1
    turn.placed[task.id] = task.node_id
    turn.backlog.discard(task)


def _place_at_homes(turn: _Round, key: GroupKey, tasks: list[Task]) -> tuple[list[Task], bool]:
    """Tasks whose data is on one node go there, or wait, and the reason says why. Answers those
    that may go anywhere, and whether others wait."""
    if turn.homes is None or not any(m.is_named_volume for m in tasks[0].spec.container.mounts):
        return tasks, False
    free, done, stuck = [], [], False
    for task in tasks:
        home = turn.homes.of(task)
        if home is None:
            free.append(task)
            continue
        info = turn.fleet.infos.get(home.node_id)
        turn.work += 1
        if info is not None and passes(task, info):
            turn.fleet.hold(info, turn.with_claim(task, info))
            turn.placed[task.id] = home.node_id
            done.append(task)
        else:
            stuck = True
            turn.refuse(task, f"{summary(task, [info] if info else [])}: {home.reason}")
    turn.backlog.placed(key, done)
    return free, stuck


def _place_group(turn: _Round, key: GroupKey) -> None:
    """Place what fits, and tell the others why not; a group that is cut stays ready."""
    tasks, stuck = _place_at_homes(turn, key, turn.backlog.group(key))
    if not tasks:
        turn.backlog.park(key)
        return
    example = tasks[0]
    spreader = Spreader(turn.fleet, example, turn.now)
    wants_pieces = bool(example.spec.resources.reservations.generic)
    room = max(0, turn.limit - turn.work)
    count = 0
    for task in tasks[:room]:
        info = spreader.next(task)
        if info is None:
            break
        task_id = task.id
        if wants_pieces:
            taker = turn.with_claim(task, info)
        else:
            # One stands for all that are equal, so that the others are not kept beside the stored.
            taker = example if task.spec is example.spec else task
        spreader.count(info, task_id, taker)
        turn.placed[task_id] = info.node.id
        count += 1
    spreader.close()
    turn.backlog.placed(key, tasks[:count])
    turn.work += max(count, spreader.visits // VISITS)
    if count == min(room, len(tasks)):
        if count == len(tasks) and stuck:
            turn.backlog.park(key)
        return
    # One reason serves the group: the same spec meets the same nodes.
    reason = summary(tasks[count], turn.fleet.infos.values())
    turn.work += len(turn.fleet.infos) // VISITS
    for task in tasks[count:]:
        turn.refuse(task, reason)
        if turn.is_over:
            return
    turn.backlog.park(key)
