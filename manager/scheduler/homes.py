"""Tasks whose data is on one node: there, or not at all, and the reason says why."""

from __future__ import annotations

from collections.abc import Mapping

from manager.placement.volumes import Home
from manager.scheduler.nodeinfo import NodeInfo
from manager.scheduler.pipeline import candidates, explain
from pyswarm.model import Task


def place_at_home(
    task: Task,
    home: Home,
    nodes: Mapping[str, NodeInfo],
    placed: dict[str, str],
    refused: dict[str, str],
) -> None:
    """Place a task where its volumes are, or refuse it in words."""
    info = nodes.get(home.node_id)
    own = [info] if info is not None else []
    if candidates(task, own):
        own[0].add(task)
        placed[task.id] = home.node_id
        return
    reason = f"{explain(task, own)}: {home.reason}"
    if task.status.error != reason:
        refused[task.id] = reason
