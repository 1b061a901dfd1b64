"""All filters over all nodes, and the sentence that explains an empty result."""

from __future__ import annotations

from collections.abc import Iterable

from manager.scheduler.filters import CHANGING, FILTERS
from manager.scheduler.nodeinfo import NodeInfo
from pyswarm.model import Task


def candidates(task: Task, infos: Iterable[NodeInfo]) -> list[NodeInfo]:
    """The nodes that pass every filter, in the order given."""
    return [info for info in infos if all(f.passes(task, info) for f in FILTERS)]


def still_fits(task: Task, info: NodeInfo) -> bool:
    """Whether a candidate fits again after tasks were placed on it."""
    return all(f.passes(task, info) for f in CHANGING)


def explain(task: Task, infos: Iterable[NodeInfo]) -> str:
    """Why the task can go nowhere: for each node the first filter that refuses it, the most
    frequent first."""
    counts = [0] * len(FILTERS)
    for info in infos:
        for index, rule in enumerate(FILTERS):
            if not rule.passes(task, info):
                counts[index] += 1
                break
    refusals = sorted((-count, index) for index, count in enumerate(counts) if count)
    if not refusals:
        return "no suitable node"
    reasons = "; ".join(FILTERS[index].explain(-count) for count, index in refusals)
    return f"no suitable node ({reasons})"
