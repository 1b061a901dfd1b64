"""Waits until services that are removed are gone, and says what still has to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyswarm.cli.connection import Connection
from pyswarm.cli.progress import SLOTS_SHOWN_MAX
from pyswarm.cli.render import natural_key, short_id
from pyswarm.cli.waiting import Painter, follow
from pyswarm.model import Node, NodeState, Task, is_terminal


def stopping_lines(tasks: Iterable[Task], nodes: Iterable[Node]) -> list[str]:
    """How many tasks have not ended on nodes that are up and, where they are few, which."""
    names = {node.id: node.hostname for node in nodes if node.status.state is NodeState.READY}
    left = sorted(
        (
            f"{task.service_name}.{task.slot or short_id(task.node_id)} on {names[task.node_id]}"
            for task in tasks
            if task.node_id in names and not is_terminal(task.status.state)
        ),
        key=natural_key,
    )
    if not left:
        return []
    lines = [f"removal: {len(left)} {'task has' if len(left) == 1 else 'tasks have'} to stop"]
    return lines + left if len(left) <= SLOTS_SHOWN_MAX else lines


async def wait_for_removal(connection: Connection, service_ids: Sequence[str]) -> None:
    """Wait until the services are gone, which is when their last task has ended."""
    if not service_ids:
        return
    painter = Painter()
    async for world in follow(connection, ("service", "task", "node"), service_ids):
        gone = not world.services
        painter.show([] if gone else stopping_lines(world.tasks.values(), world.nodes.values()))
        if gone:
            return
