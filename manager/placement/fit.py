"""Platform and size: whether a node could carry a task if it had nothing else to do."""

from __future__ import annotations

from manager.placement.constraint import architecture, satisfied
from manager.placement.generic import offers
from pyswarm.model import Node, Platform, TaskSpec


def platform_fits(wanted: tuple[Platform, ...], node: Node) -> bool:
    """Whether one of the platforms is the node's; none wanted means any."""
    has = node.description.platform
    return not wanted or any(
        (not p.os or p.os.lower() == has.os.lower())
        and (not p.architecture or architecture(p.architecture) == architecture(has.architecture))
        for p in wanted
    )


def size_fits(spec: TaskSpec, node: Node) -> bool:
    """Whether the node is as large as the reservation."""
    wanted, has = spec.resources.reservations, node.description.resources
    return (
        wanted.nano_cpus <= has.nano_cpus
        and wanted.memory_bytes <= has.memory_bytes
        and offers(has.generic, wanted.generic)
    )


def node_fits(spec: TaskSpec, node: Node) -> bool:
    """Whether constraints and platform allow the task on the node."""
    placement = spec.placement
    return satisfied(placement.constraints, node) and platform_fits(placement.platforms, node)
