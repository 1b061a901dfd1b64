"""The placeholders of a service's hostname, environment and mounts, as Docker documents them.

`.Service.ID`, `.Service.Name`, `.Service.Labels`, `.Node.ID`, `.Node.Hostname`,
`.Node.Platform.OS`, `.Node.Platform.Architecture`, `.Task.ID`, `.Task.Name`, `.Task.Slot`. They
are filled on the agent, since only there the node is known; `check` fills them with examples, so
that a wrong one is refused when the service is created.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pyswarm.model import (
    ContainerSpec,
    Mount,
    NodeDescription,
    Platform,
    ServiceSpec,
    Task,
    TaskSpec,
)
from pyswarm.templates.evaluate import render
from pyswarm.templates.syntax import TemplateError

_EXAMPLE_ID: Final = "0123456789abcdefghijklmno"
_EXAMPLE_NODE: Final = NodeDescription(
    hostname="node-1", platform=Platform(os="linux", architecture="amd64")
)


def context(task: Task, node: NodeDescription) -> dict[str, Any]:
    """What a placeholder of this task can name. A global task's slot is its node."""
    return {
        "Service": {
            "ID": task.service_id,
            "Name": task.service_name,
            "Labels": dict(task.service_labels),
        },
        "Node": {
            "ID": task.node_id,
            "Hostname": node.hostname,
            "Platform": {"OS": node.platform.os, "Architecture": node.platform.architecture},
        },
        "Task": {"ID": task.id, "Name": task.name, "Slot": str(task.slot or task.node_id)},
    }


def _filled(text: str, values: Mapping[str, Any], where: str) -> str:
    try:
        return render(text, values)
    except TemplateError as error:
        raise TemplateError(f'the template in {where} "{text[:80]}": {error.message}') from None


def _mount(mount: Mount, values: Mapping[str, Any]) -> Mount:
    return replace(
        mount,
        source=_filled(mount.source, values, "the mount's source"),
        target=_filled(mount.target, values, "the mount's target"),
        labels={key: _filled(text, values, "a label") for key, text in mount.labels.items()},
        driver_options={
            key: _filled(text, values, "a volume option")
            for key, text in mount.driver_options.items()
        },
    )


def expand_container(task: Task, node: NodeDescription) -> ContainerSpec:
    """The task's container with placeholders filled; raises TemplateError."""
    values, container = context(task, node), task.spec.container
    return replace(
        container,
        env=tuple(_filled(line, values, "the environment") for line in container.env),
        hostname=_filled(container.hostname, values, "the hostname"),
        mounts=tuple(_mount(mount, values) for mount in container.mounts),
    )


def check(spec: ServiceSpec) -> ContainerSpec:
    """The service's container as a task of it could have it; raises TemplateError."""
    task = Task(
        id=_EXAMPLE_ID,
        service_id=_EXAMPLE_ID,
        service_name=spec.name,
        service_labels=spec.labels,
        slot=1,
        node_id=_EXAMPLE_ID,
        spec=TaskSpec(container=spec.task.container),
    )
    return expand_container(task, _EXAMPLE_NODE)
