"""Volumes between the store and the nodes: what a node must know, and what its report changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from manager.dispatcher.assignments import may_run
from manager.placement.volumes import names, slot_name
from manager.state import View
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.model import Task, Volume, VolumeOnNode, VolumeSpec
from pyswarm.wire import from_message


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedVolume:
    """A volume that a node has; `tasks` are the ids of those that have it mounted."""

    spec: VolumeSpec
    created_at: float = 0.0
    tasks: tuple[str, ...] = ()


def of_node(view: View, node_id: str, tasks: Iterable[Task]) -> dict[str, Volume]:
    """What the node must know, by id: how to make the volumes of its tasks, and what to remove.
    Which other nodes have them is none of its business."""
    known = {v.spec.name: v for v in view.list(Volume)}
    wanted = {n for task in tasks if may_run(task) for n in names(task.spec, known)}
    return {
        volume.id: Volume(id=volume.id, spec=volume.spec, pending_delete=volume.pending_delete)
        for name, volume in known.items()
        if (volume.pending_delete and any(n.node_id == node_id for n in volume.nodes))
        or (name in wanted and not volume.pending_delete)
    }


def taken(
    view: View, node_id: str, report: dispatcher_pb2.VolumeReport, new_id: Callable[[], str]
) -> list[Volume]:
    """The records that a node's report, as it was sent, changes or makes."""
    volumes = [
        ReportedVolume(
            spec=from_message(VolumeSpec, each.spec),
            created_at=each.created_at,
            tasks=tuple(each.tasks),
        )
        for each in report.volumes
    ]
    freed_bytes = {each.name: each.freed_bytes for each in report.removed}
    return reported(view, node_id, volumes, freed_bytes, new_id)


def reported(
    view: View,
    node_id: str,
    volumes: Iterable[ReportedVolume],
    freed_bytes: Mapping[str, int],
    new_id: Callable[[], str],
) -> list[Volume]:
    """The records that a node's report changes or makes. A report is whole: what it does not name
    is not there any more."""
    changed = []
    here = {volume.spec.name: volume for volume in volumes}
    for volume in view.list(Volume):
        seen = here.pop(volume.spec.name, None)
        freed = freed_bytes.get(volume.spec.name, 0) if volume.pending_delete else 0
        new = replace(
            volume,
            nodes=_nodes(view, volume.nodes, node_id, seen),
            freed_bytes=volume.freed_bytes + freed,
        )
        if new != volume:
            changed.append(new)
    for name in sorted(here):
        nodes = _nodes(view, (), node_id, here[name])
        changed.append(Volume(id=new_id(), spec=here[name].spec, nodes=nodes))
    return changed


def _nodes(
    view: View, old: tuple[VolumeOnNode, ...], node_id: str, seen: ReportedVolume | None
) -> tuple[VolumeOnNode, ...]:
    by_id = {each.node_id: each for each in old}
    if seen is None:
        by_id.pop(node_id, None)
        return tuple(by_id[key] for key in sorted(by_id))
    own = by_id.get(node_id, VolumeOnNode(node_id=node_id, created_at=seen.created_at))
    slots = {slot for task_id in seen.tasks if (slot := _slot(view, task_id, node_id))}
    if slots - set(own.slots):
        # Their newest data is here now: what another node has of these slots is older.
        for key, each in by_id.items():
            left = tuple(slot for slot in each.slots if slot not in slots)
            if left != each.slots:
                by_id[key] = replace(each, slots=left, released=not left)
        own = replace(own, slots=tuple(sorted({*own.slots, *slots})), released=False)
    by_id[node_id] = own
    return tuple(by_id[key] for key in sorted(by_id))


def _slot(view: View, task_id: str, node_id: str) -> str:
    """The slot of a task that has a say here: one that is wanted, and on this node."""
    task = view.get(Task, task_id)
    if task is None or task.node_id != node_id or not task.is_wanted:
        return ""
    return slot_name(task)
