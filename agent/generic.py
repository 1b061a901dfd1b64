"""What a task was given of its node's generic resources, told to its program."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pyswarm.model import ContainerSpec, Task

PREFIX: Final = "DOCKER_RESOURCE_"


def with_resources(container: ContainerSpec, task: Task) -> ContainerSpec:
    """The container with a variable for each kind: `DOCKER_RESOURCE_GPU=UUID1,UUID2`, or the count
    of what has no names. They come last: nothing that the user sets takes their place."""
    found: dict[str, list[str]] = {}
    for each in task.generic_resources:
        found.setdefault(each.kind, []).append(each.value or str(each.count))
    lines = (f"{PREFIX}{kind.upper()}={','.join(pieces)}" for kind, pieces in found.items())
    return replace(container, env=(*container.env, *lines)) if found else container
