"""Where the data of a task's volumes is: its slot goes back there, or waits.

A slot is named by its service's name and number, so a service that is removed and made again finds
its data. What `of` answers for a task of a replicated service:

    its slot has data in a volume        the node that has it
    no slot of its service has any       slot k goes to the k-th node that has the volume
    neither                              None: it may go anywhere

Volumes on network storage or in memory, and those without a name, draw nobody anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from manager.state import View
from pyswarm.model import Mount, Node, NodeState, Task, TaskSpec, Volume
from pyswarm.model.volume import VolumeSpec

_PLACE: Final = re.compile(r"\{\{.*?\}\}")


@dataclass(frozen=True, slots=True)
class Home:
    """The node to which a task must go, and why; an empty `node_id` is nowhere for now."""

    node_id: str
    reason: str


def slot_name(task: Task) -> str:
    """`web.1`; empty for a task whose slot is its node."""
    return f"{task.service_name}.{task.slot}" if task.slot else ""


def writes_to_volume(spec: TaskSpec) -> bool:
    """Whether tasks of this spec write to a volume that outlives them."""
    return any(m.is_named_volume and not m.read_only for m in spec.container.mounts)


@lru_cache(maxsize=4096)
def pattern(source: str) -> re.Pattern[str]:
    """The names that a mount's source can mean: only the node knows what its placeholders are."""
    literal = (re.escape(part) for part in _PLACE.split(source))
    return re.compile(".+".join(literal))


def names(spec: TaskSpec, volumes: dict[str, Volume]) -> list[str]:
    """The volumes among those known that tasks of this spec can mount, sorted."""
    found: set[str] = set()
    for mount in spec.container.mounts:
        if mount.is_named_volume:
            if "{{" in mount.source:
                wanted = pattern(mount.source)
                found |= {name for name in volumes if wanted.fullmatch(name)}
            elif mount.source in volumes:
                found.add(mount.source)
    return sorted(found)


class Homes:
    """What a view says of volumes and their nodes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._volumes = {v.spec.name: v for v in view.list(Volume)}
        self._by_slot: dict[str, dict[str, str]] = {}
        for volume in self._volumes.values():
            for here in volume.nodes:
                for slot in here.slots:
                    self._by_slot.setdefault(slot, {})[volume.spec.name] = here.node_id

    def of(self, task: Task) -> Home | None:
        """Where the task must go; None where it may go anywhere."""
        slot = slot_name(task)
        if not slot or not self._volumes or not any(m.is_named_volume for m in _mounts(task)):
            return None
        wanted = names(task.spec, self._volumes)
        for name in wanted:
            if self._volumes[name].pending_delete:
                return Home("", f"volume {name} is being removed")
        kept = [n for n in wanted if _stays(self._volumes[n].spec)]
        own = {n: self._by_slot.get(slot, {}).get(n) for n in kept}
        homes = {n: node_id for n, node_id in own.items() if node_id}
        if len(set(homes.values())) > 1:
            where = ", ".join(f"{n} on {self._hostname(homes[n])}" for n in sorted(homes))
            return Home("", f"its volumes are on different nodes: {where}")
        for name, node_id in homes.items():
            return self._home(name, node_id)
        for name in kept:
            first = self._first(name, task)
            if first:
                return self._home(name, first)
        return None

    def _first(self, name: str, task: Task) -> str:
        """The node for a slot of a service that has no data in the volume yet."""
        here = [n for n in self._volumes[name].nodes if not n.released]
        prefix = f"{task.service_name}."
        if any(slot.startswith(prefix) for each in here for slot in each.slots):
            return ""
        return here[task.slot - 1].node_id if task.slot <= len(here) else ""

    def _home(self, name: str, node_id: str) -> Home:
        reason = f"volume {name} is on node {self._hostname(node_id)}"
        node = self._view.get(Node, node_id)
        if node is None or node.status.state != NodeState.READY:
            reason += (
                f", which is down: it waits for its data ('volume release {name}' lets it go "
                "elsewhere without)"
            )
        return Home(node_id, reason)

    def _hostname(self, node_id: str) -> str:
        node = self._view.get(Node, node_id)
        return node.hostname if node is not None else node_id


def _mounts(task: Task) -> tuple[Mount, ...]:
    return task.spec.container.mounts


def _stays(spec: VolumeSpec) -> bool:
    return spec.stays_on_node
