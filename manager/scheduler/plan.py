"""PENDING to ASSIGNED: a node for each task, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from manager.placement.volumes import Homes
from manager.scheduler.homes import place_at_home
from manager.scheduler.nodeinfo import NodeInfo
from manager.scheduler.pipeline import candidates, explain
from manager.scheduler.spread import Spreader
from manager.state import View
from pyswarm.core import NEVER
from pyswarm.model import PortConfig, Task, TaskState

LIMIT: Final = 200
"""Decisions in one round: they fit one change set."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Task id -> node id, and task id -> why it has none, where that is news. `wake_at` is when
    the next task may start; `more` says that the round stopped at its limit."""

    placed: Mapping[str, str]
    refused: Mapping[str, str]
    wake_at: float = NEVER
    more: bool = False


def plan(view: View, nodes: Mapping[str, NodeInfo], now: float, limit: int = LIMIT) -> Plan:
    """Place the pending tasks of `view` on `nodes`, which are changed as if they ran there.

    Tasks of one spec version are one group: the filters go over the nodes once for all of them.
    Tasks that have their node from the start (global services) come first, since they have no
    other choice.
    """
    placed: dict[str, str] = {}
    refused: dict[str, str] = {}
    groups: dict[tuple[str, int, tuple[PortConfig, ...]], list[Task]] = {}
    wake_at, bound = NEVER, []
    homes, kept = Homes(view), []
    for task in view.tasks_in_state(TaskState.PENDING):
        if not task.is_wanted:
            continue
        if task.start_after > now:
            wake_at = min(wake_at, task.start_after)
        elif task.node_id:
            bound.append(task)
        elif (home := homes.of(task)) is not None:
            kept.append((task, home))
        else:
            groups.setdefault((task.service_id, task.spec_version, task.ports), []).append(task)
    for task in bound:
        if len(placed) + len(refused) >= limit:
            return Plan(placed, refused, wake_at, more=True)
        _place_bound(task, nodes, placed, refused)
    for task, home in kept:
        if len(placed) + len(refused) >= limit:
            return Plan(placed, refused, wake_at, more=True)
        place_at_home(task, home, nodes, placed, refused)
    ordered = [nodes[key] for key in sorted(nodes)]
    for key in sorted(groups, key=lambda key: key[:2]):
        if not _place_group(groups[key], ordered, now, placed, refused, limit):
            return Plan(placed, refused, wake_at, more=True)
    return Plan(placed, refused, wake_at)


def _place_bound(
    task: Task,
    nodes: Mapping[str, NodeInfo],
    placed: dict[str, str],
    refused: dict[str, str],
) -> None:
    info = nodes.get(task.node_id)
    own = [info] if info is not None else []
    if candidates(task, own):
        own[0].add(task)
        placed[task.id] = task.node_id
    else:
        _refuse(task, explain(task, own), refused)


def _place_group(
    tasks: list[Task],
    nodes: list[NodeInfo],
    now: float,
    placed: dict[str, str],
    refused: dict[str, str],
    limit: int,
) -> bool:
    """Place what fits; False where the limit came first."""
    tasks.sort(key=lambda task: (task.slot, task.id))
    spreader = Spreader(tasks[0], candidates(tasks[0], nodes), now)
    reason = ""
    for task in tasks:
        if len(placed) + len(refused) >= limit:
            return False
        info = spreader.place(task) if not reason else None
        if info is not None:
            placed[task.id] = info.node.id
            continue
        # One reason serves the group: the same spec meets the same nodes.
        reason = reason or explain(task, nodes)
        _refuse(task, reason, refused)
    return True


def _refuse(task: Task, reason: str, refused: dict[str, str]) -> None:
    if task.status.error != reason:
        refused[task.id] = reason
