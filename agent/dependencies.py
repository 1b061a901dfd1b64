"""Which tasks wait for which secrets and configs.

Secrets are never on disk, so after a restart of the node its tasks wait until a manager answers.
After a restart of the daemon alone the tmpfs of a task is still there (`held`), and nothing waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyswarm.model import Task


def missing(task: Task, secrets: Collection[str], configs: Collection[str]) -> tuple[str, ...]:
    """What the task refers to and is not here, in words, sorted: ("config site", ...)."""
    container = task.spec.container
    lost = {f"secret {ref.name or ref.id}" for ref in container.secrets if ref.id not in secrets}
    lost |= {f"config {ref.name or ref.id}" for ref in container.configs if ref.id not in configs}
    return tuple(sorted(lost))


def ready(
    tasks: Iterable[Task],
    secrets: Collection[str],
    configs: Collection[str],
    held: Collection[str] = (),
) -> tuple[str, ...]:
    """The ids of the tasks that wait for nothing, in the order in which they came."""
    return tuple(
        task.id
        for task in tasks
        if not [what for what in missing(task, secrets, configs) if not _held(task, what, held)]
    )


def _held(task: Task, what: str, held: Collection[str]) -> bool:
    return task.id in held and what.startswith("secret ")
