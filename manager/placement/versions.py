"""The versions of secrets and configs: who refers to which, and which nobody needs any more."""

from __future__ import annotations

from typing import TypeVar

from manager.state import View
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    Secret,
    Service,
    is_terminal,
)
from pyswarm.model.payload import VERSIONS_KEPT

Payload = TypeVar("Payload", Secret, Config)


def references(
    container: ContainerSpec, kind: type[Secret] | type[Config]
) -> tuple[FileReference, ...]:
    """The references of a container to records of a kind."""
    return container.secrets if kind is Secret else container.configs


def superseded(view: View, kind: type[Payload]) -> tuple[list[Payload], bool]:
    """Old versions that nothing can refer to any more, beyond those that are kept; and whether
    there are others that something still refers to."""
    by_name: dict[str, list[Payload]] = {}
    for record in view.list(kind):
        by_name.setdefault(record.spec.name.lower(), []).append(record)
    old = [
        record
        for versions in by_name.values()
        if len(versions) > VERSIONS_KEPT
        for record in sorted(versions, key=lambda each: -each.version)[VERSIONS_KEPT:]
    ]
    used = _used(view, kind) if old else set()
    unused = [record for record in old if record.id not in used]
    return unused, len(unused) < len(old)


def _used(view: View, kind: type[Secret] | type[Config]) -> set[str]:
    used: set[str] = set()
    for service in view.list(Service):
        specs = [service.spec, *([service.previous_spec] if service.previous_spec else [])]
        for spec in specs:
            used |= {r.id for r in references(spec.task.container, kind)}
        for task in view.tasks_of_service(service.id):
            if not is_terminal(task.status.state):
                used |= {r.id for r in references(task.spec.container, kind)}
    return used
