"""Who uses a volume, and what may be done to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from manager.placement.volumes import names
from manager.state.tables import View
from pyswarm.errors import AlreadyExists, FailedPrecondition
from pyswarm.model import (
    Availability,
    Node,
    NodeState,
    Service,
    Task,
    Volume,
    VolumeSpec,
    is_terminal,
)

_NO_GIVEN_NAME: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Users:
    """Names of services that mount it, and ids of their tasks that have not ended."""

    services: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)


def users(view: View) -> dict[str, Users]:
    """The users of each volume that has any, by the volume's name."""
    known = {v.spec.name: v for v in view.list(Volume)}
    found: dict[str, Users] = {}
    for service in view.list(Service):
        if service.spec.task.container.mounts and not service.pending_delete:
            for name in names(service.spec.task, known):
                found.setdefault(name, Users()).services.add(service.spec.name)
    for task in view.list(Task):
        if task.spec.container.mounts and not is_terminal(task.status.state):
            for name in names(task.spec, known):
                found.setdefault(name, Users()).tasks.add(task.id)
    return found


def require_unused(volume: Volume, users: Users | None) -> None:
    """Refuse to remove a volume that a service or a task uses."""
    if users is None:
        return
    name = volume.spec.name
    if users.tasks:
        tasks = ", ".join(sorted(users.tasks))
        raise FailedPrecondition(f"remove {name}: volume is in use - [{tasks}]")
    word = "service" if len(users.services) == 1 else "services"
    services = ", ".join(sorted(users.services))
    raise FailedPrecondition(f"remove {name}: volume is in use by the following {word}: {services}")


def require_same(old: Volume, spec: VolumeSpec) -> None:
    """A volume that is created again must be the one that is there."""
    if old.pending_delete:
        raise AlreadyExists(f"volume {spec.name} is still being removed")
    if dict(old.spec.driver_options) != dict(spec.driver_options):
        raise AlreadyExists(f"volume {spec.name} already exists with other options")


def has_no_given_name(volume: Volume) -> bool:
    """Whether it was created without a name, and has one of 64 hexadecimal digits."""
    return bool(_NO_GIVEN_NAME.fullmatch(volume.spec.name))


def released(view: View, volume: Volume, node_id: str) -> tuple[Volume, list[str]]:
    """The volume with the data on a node given up (empty: on each that takes no tasks now), and
    the names of those nodes."""
    nodes, names = [], []
    for here in volume.nodes:
        wanted = here.node_id == node_id if node_id else _is_away(view, here.node_id)
        if wanted and not here.released:
            node = view.get(Node, here.node_id)
            names.append(node.hostname if node is not None else here.node_id)
            here = replace(here, slots=(), released=True)
        nodes.append(here)
    return replace(volume, nodes=tuple(nodes)), sorted(names)


def _is_away(view: View, node_id: str) -> bool:
    node = view.get(Node, node_id)
    return (
        node is None
        or node.status.state != NodeState.READY
        or node.spec.availability != Availability.ACTIVE
    )
