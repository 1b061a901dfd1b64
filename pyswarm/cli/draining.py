"""Waits until a drained node is empty, and says what is still there and what it waits for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyswarm.cli.connection import Connection
from pyswarm.cli.outcomes import Outcome
from pyswarm.cli.progress import SLOTS_SHOWN_MAX
from pyswarm.cli.render import clean, human_duration, natural_key, short_id
from pyswarm.cli.waiting import Painter, follow
from pyswarm.errors import FailedPrecondition, NotFound
from pyswarm.model import Availability, Node, NodeState, Task, TaskState, is_terminal


@dataclass(frozen=True, slots=True)
class Staying:
    """A task that has not left, its state and why it is still there."""

    name: str
    state: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.state}  {self.reason}"


def staying(node_id: str, tasks: Iterable[Task]) -> list[Staying]:
    """The tasks that are on the node and have not ended; `tasks` are all of the swarm."""
    here, elsewhere = [], {}
    for task in tasks:
        if is_terminal(task.status.state):
            continue
        if task.node_id != node_id:
            if task.is_wanted:
                elsewhere[task.slot_key] = task
        elif task.status.state >= TaskState.ASSIGNED:
            here.append(task)
    here.sort(key=lambda task: natural_key(task.name))
    return [
        Staying(
            f"{task.service_name}.{task.slot or short_id(task.node_id)}",
            task.status.state.name.lower(),
            _reason(task, elsewhere.get(task.slot_key)),
        )
        for task in here
    ]


def _reason(task: Task, successor: Task | None) -> str:
    if not task.is_wanted:
        return "is stopping"
    if successor is None:
        return "has no successor yet"
    status = successor.status
    words = f"waits until its successor {short_id(successor.id)} runs, which is "
    return clean(f"{words}{status.state.name.lower()}: {status.error or status.message}")


def drain_lines(hostname: str, most: int, left: Sequence[Staying]) -> list[str]:
    """The sum and, where they are few, each task that is left."""
    if not left:
        return [f"drain: node {hostname} is empty"]
    lines = [f"drain: {most - len(left)} of {most} tasks have left node {hostname}"]
    if len(left) <= SLOTS_SHOWN_MAX:
        lines += [str(task) for task in left]
    return lines


async def wait_until_empty(connection: Connection, node: Node, timeout_seconds: float) -> int:
    """Wait until no task is left on the node; the exit code is TIMED_OUT where `timeout_seconds`
    (0: none) have passed before.

    Raises FailedPrecondition where the wait makes no sense any more, since the node is down or
    takes tasks again.
    """
    left: list[Staying] = []
    most = 0
    painter = Painter()
    try:
        async with asyncio.timeout(timeout_seconds or None):
            async for world in follow(connection, ("node", "task")):
                _check(world.nodes.get(node.id), node)
                left = staying(node.id, world.tasks.values())
                most = max(most, len(left))
                painter.show(drain_lines(node.hostname, most, left))
                if not left:
                    return 0
    except TimeoutError:
        waited = human_duration(timeout_seconds).lower()
        stuck = "; ".join(str(task) for task in left[:SLOTS_SHOWN_MAX])
        what = f"it still has {len(left)} tasks: {stuck}" if left else "no manager has answered"
        print(f"Error: node {node.hostname} is not empty after {waited}: {what}", file=sys.stderr)
    return Outcome.TIMED_OUT


def _check(seen: Node | None, node: Node) -> None:
    if seen is None:
        raise NotFound(f"node {node.hostname} was removed while it was waited for")
    if seen.status.state == NodeState.DOWN:
        raise FailedPrecondition(
            f"node {node.hostname} is down ({seen.status.message}): nobody can say when it is "
            "empty; its tasks are started elsewhere all the same"
        )
    if seen.spec.availability is not Availability.DRAIN:
        raise FailedPrecondition(f"node {node.hostname} is not drained any more")
