"""What has to go: versions that nobody uses, and what is left of volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from manager.placement.versions import superseded
from manager.state import View
from pyswarm.model import Config, Node, Secret, Volume


@dataclass(frozen=True, slots=True)
class Plan:
    """Records to delete, and volumes to put. `held` says that old versions of secrets or configs
    wait for the services and tasks that still refer to them."""

    deleted: tuple[Secret | Config | Volume, ...] = ()
    changed: tuple[Volume, ...] = ()
    held: bool = False


def plan(view: View) -> Plan:
    """Level-triggered: it may be made again at any time."""
    secrets, some_held = superseded(view, Secret)
    configs, more_held = superseded(view, Config)
    deleted: list[Secret | Config | Volume] = [*secrets, *configs]
    changed = []
    for volume in view.list(Volume):
        nodes = tuple(n for n in volume.nodes if view.get(Node, n.node_id) is not None)
        if volume.pending_delete and not nodes:
            deleted.append(volume)
        elif nodes != volume.nodes:
            changed.append(replace(volume, nodes=nodes))
    return Plan(tuple(deleted), tuple(changed), some_held or more_held)
