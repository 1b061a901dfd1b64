"""What runs, compared with what is assigned: adopt the one, remove the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from agent.task_events import Found


@dataclass(frozen=True, slots=True)
class Seen:
    """A container that carries our label; `started` is False where it was only created."""

    container_id: str
    task_id: str
    started: bool
    pid: int = 0
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """`adopt`: what each assigned task's machine begins with; `strays`: containers that nobody
    wants, or that never started and are made again, sorted."""

    adopt: Mapping[str, Found]
    strays: tuple[Seen, ...]


def reconcile(assigned: Collection[str], seen: Iterable[Seen]) -> Reconciliation:
    """Sort the containers that were found. Level-triggered: also right when done twice."""
    adopt: dict[str, Found] = {}
    strays = []
    for container in sorted(seen, key=lambda c: (c.task_id, c.container_id)):
        if container.task_id in assigned and container.started and container.task_id not in adopt:
            adopt[container.task_id] = Found(
                container.container_id, container.pid, container.exit_code
            )
        else:
            strays.append(container)
    return Reconciliation(adopt, tuple(strays))
