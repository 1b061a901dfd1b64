"""Placeholders in a task's environment, hostname and mounts: the part of Go's templates that
Docker documents for services.

`.Service.ID`, `.Service.Name`, `.Service.Labels.tier`, `index .Service.Labels "a.b"`, `.Node.ID`,
`.Node.Hostname`, `.Node.Platform.OS`, `.Node.Platform.Architecture`, `.Task.ID`, `.Task.Name`,
`.Task.Slot`, each between double braces. They are expanded on the agent, since only there the node
is known. Anything else between the braces is refused, never passed on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, NodeDescription, Task

_PLACE: Final = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_INDEX: Final = re.compile(r'index\s+\.Service\.Labels\s+"([^"]*)"')
_LABELS: Final = ".Service.Labels."


def context(task: Task, node: NodeDescription) -> dict[str, str]:
    """The values of the placeholders for one task on its node."""
    return {
        ".Service.ID": task.service_id,
        ".Service.Name": task.service_name,
        ".Node.ID": task.node_id,
        ".Node.Hostname": node.hostname,
        ".Node.Platform.OS": node.platform.os,
        ".Node.Platform.Architecture": node.platform.architecture,
        ".Task.ID": task.id,
        ".Task.Name": task.name,
        ".Task.Slot": str(task.slot),
    }


def expand(text: str, values: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """`text` with every placeholder filled; raises InvalidArgument for one that is not known."""
    if "{{" not in text:
        return text

    def fill(match: re.Match[str]) -> str:
        inner = match.group(1)
        if inner in values:
            return values[inner]
        index = _INDEX.fullmatch(inner)
        if index is not None:
            return labels.get(index.group(1), "")
        if inner.startswith(_LABELS):
            return labels.get(inner.removeprefix(_LABELS), "")
        known = ", ".join(sorted(values))
        raise InvalidArgument(
            f'the placeholder "{match.group(0)}" is not known: use one of {known}'
        )

    return _PLACE.sub(fill, text)


def expand_container(task: Task, node: NodeDescription) -> ContainerSpec:
    """The task's container with placeholders filled in environment, hostname and mounts."""
    values, labels = context(task, node), task.service_labels
    container = task.spec.container
    return replace(
        container,
        env=tuple(expand(line, values, labels) for line in container.env),
        hostname=expand(container.hostname, values, labels),
        mounts=tuple(
            replace(
                mount,
                source=expand(mount.source, values, labels),
                target=expand(mount.target, values, labels),
                labels={k: expand(v, values, labels) for k, v in mount.labels.items()},
                driver_options={
                    k: expand(v, values, labels) for k, v in mount.driver_options.items()
                },
            )
            for mount in container.mounts
        ),
    )
