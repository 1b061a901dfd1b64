"""Which tasks wait for which secrets and configs.

Secrets are never on disk, so after a restart of the node its tasks wait until a manager answers.
After a restart of the daemon alone the tmpfs of a task is still there (`held`), and nothing waits.
"""

from __future__ import annotations

from collections.abc import Collection

from pyswarm.model import Task


def missing(
    task: Task, secrets: Collection[str], configs: Collection[str], held: Collection[str] = ()
) -> tuple[str, ...]:
    """What the task refers to and is not here, in words, sorted: ("config site", ...)."""
    container = task.spec.container
    lost = {f"config {ref.name or ref.id}" for ref in container.configs if ref.id not in configs}
    if task.id not in held:
        lost |= {
            f"secret {ref.name or ref.id}" for ref in container.secrets if ref.id not in secrets
        }
    return tuple(sorted(lost))
