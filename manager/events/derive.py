"""What happened, as events in Docker's words: a pure function of what a commit changed.

Every manager derives the same events from the same commits, so a new leader has them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from manager.state.changes import Changed
from manager.state.tables import KINDS, View
from pyswarm.model import (
    Cluster,
    ExecRecord,
    Node,
    Revision,
    Service,
    Task,
    UpdateStatus,
    is_terminal,
)
from pyswarm.wire.remake import maker

Attributes = dict[str, str]
NodeName = Callable[[str], str]
"""The host name of a node id."""

_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one object; `time` in seconds since the epoch. `version` is the
    raft index of the change and `place` its place in it: the key by which events are in order."""

    type: str
    action: str
    id: str
    attributes: Mapping[str, str]
    labels: Mapping[str, str]
    time: float
    version: int
    place: int

    @property
    def key(self) -> tuple[int, int]:
        """Grows from event to event."""
        return self.version, self.place


_event: Final = maker(Event)


def events_of(
    changes: Iterable[Changed], version: int, now: float, node_name: NodeName
) -> list[Event]:
    """The events of one commit; `now` is the time of what is gone, which carries none itself."""
    events: list[Event] = []
    for change in changes:
        said = _said(change, node_name)
        if said is None:
            continue
        action, attributes = said
        record = change.new if change.new is not None else change.old
        exec_of = record.task_id if isinstance(record, ExecRecord) else ""
        events.append(
            _event(
                "task" if exec_of else _type(change.kind),
                action,
                exec_of or change.id,
                attributes,
                _labels(record),
                now if change.new is None else record.meta.updated_at or now,
                version,
                len(events),
            )
        )
    return events


def difference(old: View, new: View) -> Iterator[Changed]:
    """What lies between two states, where the commits between them were not seen."""
    for kind in KINDS.values():
        before, after = old.tables[kind], new.tables[kind]
        for key in sorted(after):
            was, record = before.get(key), after[key]
            if was is None or was.meta.version != record.meta.version:
                yield Changed(kind, key, was, record)
        for key in sorted(before):
            if key not in after:
                yield Changed(kind, key, before[key], None)


def leader_event(node: Node, *, leads: bool, now: float, version: int, place: int) -> Event:
    """A manager took the leadership over, or lost it."""
    return Event(
        type="node",
        action="update",
        id=node.id,
        attributes={
            "name": node.hostname,
            "leader.new": str(leads).lower(),
            "leader.old": str(not leads).lower(),
        },
        labels=node.spec.labels,
        time=now,
        version=version,
        place=place,
    )


def _type(kind: type[Any]) -> str:
    return "swarm" if kind is Cluster else kind.__name__.lower()


def _labels(record: Any) -> Mapping[str, str]:
    if isinstance(record, Task | ExecRecord):
        return record.service_labels
    labels: Mapping[str, str] = getattr(getattr(record, "spec", None), "labels", _NO_LABELS)
    return labels


def _said(change: Changed, node_name: NodeName) -> tuple[str, Attributes] | None:
    """Action and attributes; None where nobody would call it news."""
    if change.kind is Task:
        return _of_task(change.old, change.new, node_name)
    if change.kind is Service:
        return _of_service(change.old, change.new)
    if change.kind is Node:
        return _of_node(change.old, change.new)
    if change.kind is ExecRecord:
        return _of_exec(change.old, change.new, node_name)
    if change.kind is Revision:
        return None  # the service's own change says it
    return _of_other(change)


def _of_task(
    old: Task | None, new: Task | None, node_name: NodeName
) -> tuple[str, Attributes] | None:
    if new is None or (old is not None and old.status.state is new.status.state):
        return None
    status = new.status
    attributes = {"name": new.name, "service": new.service_name, "service.id": new.service_id}
    if new.node_id:
        attributes |= {"node": node_name(new.node_id), "node.id": new.node_id}
    if status.message:
        attributes["message"] = status.message
    if status.error:
        attributes["error"] = status.error
    if is_terminal(status.state) and status.container_id:
        attributes["exitCode"] = str(status.exit_code)
    return "create" if old is None else status.state.name.lower(), attributes


def _of_service(old: Service | None, new: Service | None) -> tuple[str, Attributes] | None:
    record = new or old
    assert record is not None, "a change has one side at least"
    attributes = {"name": record.spec.name}
    if old is None:
        return "create", attributes
    if new is None or (new.pending_delete and not old.pending_delete):
        # The record goes when the last task has ended; the user removed it before.
        return None if old.pending_delete else ("remove", attributes)
    _differs(attributes, "image", old.spec.task.container.image, new.spec.task.container.image)
    _differs(attributes, "replicas", str(old.spec.replicas), str(new.spec.replicas))
    states = (_update_state(old.update_status), _update_state(new.update_status))
    _differs(attributes, "updatestate", *states)
    if "updatestate.new" in attributes and new.update_status.message:
        attributes["message"] = new.update_status.message
    is_news = new.spec != old.spec or len(attributes) > 1
    return ("update", attributes) if is_news else None


def _update_state(status: UpdateStatus) -> str:
    return status.state.name.lower() if status.state else ""


def _of_node(old: Node | None, new: Node | None) -> tuple[str, Attributes] | None:
    record = new or old
    assert record is not None, "a change has one side at least"
    attributes = {"name": record.hostname}
    if old is None:
        return "create", attributes
    if new is None:
        return "remove", attributes
    _differs(attributes, "state", old.status.state.name, new.status.state.name)
    if "state.new" in attributes and new.status.message:
        attributes["message"] = new.status.message
    _differs(attributes, "availability", old.spec.availability.name, new.spec.availability.name)
    _differs(attributes, "role", old.role.name, new.role.name)
    _differs(attributes, "desiredrole", old.spec.role.name, new.spec.role.name)
    _differs(attributes, "address", old.status.address, new.status.address)
    is_news = len(attributes) > 1 or new.spec != old.spec
    return ("update", attributes) if is_news else None


def _of_exec(
    old: ExecRecord | None, new: ExecRecord | None, node_name: NodeName
) -> tuple[str, Attributes] | None:
    if new is None or (old is not None and old.ended == new.ended):
        return None
    attributes = {
        "name": new.task_name,
        "service": new.task_name.rsplit(".", 2)[0],
        "service.id": new.service_id,
        "node": node_name(new.node_id),
        "node.id": new.node_id,
        "execID": new.id,
        "command": " ".join(new.command),
        "by": new.asked_by,
        "via": node_name(new.manager_id),
    }
    if new.user:
        attributes["user"] = new.user
    if not new.ended:
        return "exec_start", attributes
    attributes["exitCode"] = str(new.exit_code)
    if new.error:
        attributes["error"] = new.error
    return "exec_die", attributes


def _of_other(change: Changed) -> tuple[str, Attributes] | None:
    """Networks, secrets, configs, and whatever has a specification with a name."""
    record = change.new if change.new is not None else change.old
    spec = getattr(record, "spec", None)
    name = "default" if change.kind is Cluster else getattr(spec, "name", "")
    if not name:
        return None
    attributes = {"name": str(name)}
    if change.old is None:
        return "create", attributes
    if change.new is None:
        return "remove", attributes
    return ("update", attributes) if change.new.spec != change.old.spec else None


def _differs(attributes: Attributes, key: str, old: str, new: str) -> None:
    if old != new:
        attributes[f"{key}.old"] = old.lower()
        attributes[f"{key}.new"] = new.lower()
