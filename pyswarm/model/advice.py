"""What a user should know of a service that is allowed and may do harm all the same. Pure."""

from __future__ import annotations

from pyswarm.model.service import ServiceSpec, UpdateOrder


def warnings(spec: ServiceSpec) -> list[str]:
    """Where a service is updated start-first although it writes to a volume."""
    order = spec.update.order is UpdateOrder.START_FIRST
    if not order or spec.mode.is_job:
        return []
    return [
        f"service {spec.name} updates start-first, so two of its tasks write to the volume "
        f"{mount.source} at the same time meanwhile: use stop-first where that does harm"
        for mount in spec.task.container.mounts
        if mount.is_named_volume and not mount.read_only
    ]
