"""What a change of an object may touch, and the record that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from manager.control.updates.edits import previous_spec
from manager.orchestrator.update import begun
from pyswarm.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from pyswarm.model import (
    Cluster,
    Config,
    FileReference,
    JobState,
    JobStatus,
    Meta,
    NetworkAttachmentConfig,
    Node,
    NodeSpec,
    PayloadSpec,
    PublishMode,
    Secret,
    Service,
    ServiceSpec,
)

Lookup = Callable[[str], str]
"""The id of an object's name or id; raises NotFound."""


def resolve_references(
    spec: ServiceSpec, networks: Lookup, secrets: Lookup, configs: Lookup
) -> ServiceSpec:
    """The spec with ids in place of names, so that a later object of that name is not meant."""
    try:
        attachments = _unique(
            tuple(replace(a, target=networks(a.target)) for a in spec.task.networks)
        )
        container = replace(
            spec.task.container,
            secrets=tuple(_file(r, secrets) for r in spec.task.container.secrets),
            configs=tuple(_file(r, configs) for r in spec.task.container.configs),
        )
    except NotFound as error:
        raise InvalidArgument(f"service {spec.name}: {error.message}") from error
    return replace(spec, task=replace(spec.task, networks=attachments, container=container))


def _unique(
    attachments: tuple[NetworkAttachmentConfig, ...],
) -> tuple[NetworkAttachmentConfig, ...]:
    return tuple({a.target: a for a in attachments}.values())


def _file(reference: FileReference, lookup: Lookup) -> FileReference:
    try:
        return replace(reference, id=lookup(reference.id or reference.name))
    except NotFound:
        # The version that an old specification names may be gone; its name means the newest.
        if not reference.id or not reference.name:
            raise
        return replace(reference, id=lookup(reference.name))


def new_service(service_id: str, spec: ServiceSpec, now: float) -> Service:
    """A service as it begins."""
    return Service(
        id=service_id,
        meta=Meta(created_at=now, updated_at=now),
        spec=spec,
        spec_version=1,
        job_status=JobStatus(last_execution=now) if spec.mode.is_job else JobStatus(),
    )


def update_service(old: Service, spec: ServiceSpec, now: float) -> Service:
    """The service with a new spec; a changed task spec begins an update, or a job's next
    iteration."""
    if spec.name != old.spec.name:
        raise Unimplemented("renaming services is not supported")
    if spec.mode != old.spec.mode:
        raise Unimplemented("service mode change is not allowed")
    if old.pending_delete:
        raise NotFound(f"service {old.spec.name} not found: it is being removed")
    if _publishes(spec) and not _publishes(old.spec) and spec.task == old.spec.task:
        # The tasks that run are not in the ingress network: no port would lead to them.
        spec = replace(spec, task=replace(spec.task, force_update=spec.task.force_update + 1))
    meta = replace(old.meta, updated_at=now)
    changed = replace(old, spec=spec, meta=meta, previous_spec=previous_spec(old, spec))
    if spec.mode.is_job:
        # More may be missing now: the orchestrator says again how it stands.
        status = replace(old.job_status, state=JobState.ACTIVE, message="")
        changed = replace(changed, job_status=status)
    if spec.task == old.spec.task:
        return changed
    if spec.mode.is_job:
        iteration = old.job_status.iteration + 1
        return replace(
            changed,
            spec_version=old.spec_version + 1,
            job_status=JobStatus(iteration=iteration, last_execution=now),
        )
    return replace(
        changed,
        spec_version=old.spec_version + 1,
        update_status=begun(now, "update in progress"),
    )


def _publishes(spec: ServiceSpec) -> bool:
    ports = spec.endpoint.ports
    return not spec.mode.is_job and any(p.publish_mode == PublishMode.INGRESS for p in ports)


def update_node(old: Node, spec: NodeSpec, now: float) -> Node:
    """The node with a new spec."""
    return replace(old, spec=spec, meta=replace(old.meta, updated_at=now))


Payload = TypeVar("Payload", Secret, Config)


def update_labels(old: Payload, spec: PayloadSpec, now: float) -> Payload:
    """A secret or config with new labels; its content never changes."""
    if spec.name != old.spec.name or (spec.data and spec.data != old.spec.data):
        raise InvalidArgument("only updates to Labels are allowed: create it under a new name")
    if spec.labels == old.spec.labels:
        return old
    return replace(
        old,
        spec=replace(old.spec, labels=spec.labels),
        meta=replace(old.meta, updated_at=now),
    )


def set_unlock_key(cluster: Cluster, fresh: bytes, *, rotate: bool) -> Cluster:
    """The cluster with the unlock key that its settings ask for: none, the old one, or `fresh`."""
    if not cluster.spec.autolock:
        if rotate:
            raise FailedPrecondition("cannot rotate because autolock is not turned on")
        return replace(cluster, unlock_key=b"")
    return replace(cluster, unlock_key=fresh) if rotate or not cluster.unlock_key else cluster


def is_at(record: Any, committed: Any, version: int) -> bool:
    """Whether a record is as its committed form was at `version`."""
    if committed is None or committed.meta.version != version:
        return False
    return bool(replace(record, meta=committed.meta) == committed)
