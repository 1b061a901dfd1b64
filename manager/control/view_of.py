"""What the control API reads out of the store: counts, names that are free, things in use."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from manager.placement.lost import is_forgotten, is_lost
from manager.state.tables import View
from pyswarm.api.v1 import control_pb2
from pyswarm.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from pyswarm.model import (
    Cluster,
    ClusterSpec,
    Config,
    Network,
    NetworkSpec,
    Node,
    PublishMode,
    Secret,
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskState,
    Volume,
    is_completion,
    is_terminal,
)
from pyswarm.wire import to_message

Payload = TypeVar("Payload", Secret, Config)

_KINDS: dict[str, type] = {
    "node": Node,
    "service": Service,
    "task": Task,
    "network": Network,
    "secret": Secret,
    "config": Config,
    "volume": Volume,
}


def counted(view: View, service: Service) -> control_pb2.ServiceWithCount:
    """A service with its running tasks, those that it should have, and those of a job that
    completed in this iteration."""
    spec, tasks = service.spec, view.tasks_of_service(service.id)
    completed = [t for t in tasks if is_completion(service, t)]
    wanted = [t for t in tasks if t.is_wanted and t not in completed]
    present = [t for t in wanted if not is_lost(view, t)]
    if spec.mode.is_global:
        wanted = present
    desired = len({t.slot_key for t in wanted})
    if spec.mode == ServiceMode.REPLICATED:
        desired = spec.replicas
    elif spec.mode == ServiceMode.REPLICATED_JOB:
        desired = spec.max_concurrent or spec.replicas
    running = sum(1 for t in present if t.status.state == TaskState.RUNNING)
    return control_pb2.ServiceWithCount(
        service=to_message(service), running=running, desired=desired, completed=len(completed)
    )


def require_free_name(view: View, kind: type[Any], name: str) -> None:
    """Refuse a name that another object of the kind has."""
    word = kind.__name__.lower()
    existing = view.by_name(kind, name)
    if existing is not None:
        ending = " and is still being removed" if getattr(existing, "pending_delete", 0) else ""
        raise AlreadyExists(
            f"name conflicts with an existing object: {word} {name} already exists{ending}"
        )


def require_free_ports(view: View, spec: ServiceSpec, service_id: str) -> None:
    """Refuse an ingress port that another service publishes."""
    wanted = {
        (port.protocol, port.published_port)
        for port in spec.endpoint.ports
        if port.published_port and port.publish_mode == PublishMode.INGRESS
    }
    if not wanted:
        return
    for other in view.list(Service):
        if other.id == service_id:
            continue
        for port in (*other.endpoint.ports, *other.spec.endpoint.ports):
            taken = (port.protocol, port.published_port)
            if port.publish_mode == PublishMode.INGRESS and taken in wanted:
                raise InvalidArgument(
                    f"port '{port.published_port}' is already in use by service "
                    f"'{other.spec.name}' ({other.id}) as an ingress port"
                )


def require_free_subnet(view: View, spec: NetworkSpec) -> None:
    """Refuse a subnet that overlaps another network's, and a second ingress network."""
    for other in view.list(Network):
        if spec.ingress and other.spec.ingress:
            raise AlreadyExists(f"ingress network ({other.id}) is already present")
        if spec.subnet and other.subnet:
            subnet = ipaddress.IPv4Network(spec.subnet)
            if subnet.overlaps(ipaddress.IPv4Network(other.subnet)):
                raise InvalidArgument(
                    f"network {spec.name}: subnet {spec.subnet} overlaps {other.subnet} "
                    f"of network {other.spec.name}"
                )


def require_unused_network(view: View, network: Network) -> None:
    """Refuse to remove a network that a service or a task still uses."""
    if network.spec.ingress:
        raise FailedPrecondition("the ingress network carries published ports and stays")
    for service in view.list(Service):
        if any(a.target == network.id for a in service.spec.task.networks):
            raise FailedPrecondition(
                f"network {network.spec.name} is in use by service {service.spec.name}"
            )
    for task in view.list(Task):
        in_network = any(a.network_id == network.id for a in task.networks)
        # What a removed service has left on a node that is down may stay there for long.
        if in_network and not is_terminal(task.status.state) and not is_forgotten(view, task):
            raise FailedPrecondition(
                f"network {network.spec.name} is in use by task {task.id}, which is stopping"
            )


def require_unused_payload(view: View, payload: Payload) -> None:
    """Refuse to remove a secret or config of which services use any version."""
    users = []
    versions = {each.id for each in versions_of(view, payload)}
    for service in view.list(Service):
        container = service.spec.task.container
        references = container.secrets if isinstance(payload, Secret) else container.configs
        if any(r.id in versions for r in references) and not service.pending_delete:
            users.append(service.spec.name)
    if users:
        word = type(payload).__name__.lower()
        services = "service" if len(users) == 1 else "services"
        raise InvalidArgument(
            f"{word} '{payload.spec.name}' is in use by the following {services}: "
            + ", ".join(sorted(users))
        )


def versions_of(view: View, payload: Payload) -> list[Payload]:
    """All versions of a secret or config, the newest first."""
    name = payload.spec.name.lower()
    found = [each for each in view.list(type(payload)) if each.spec.name.lower() == name]
    return sorted(found, key=lambda each: -each.version)


def newest(view: View, kind: type[Payload]) -> list[Payload]:
    """Each secret or config as it is now, without its older versions."""
    return [p for p in view.list(kind) if view.by_name(kind, p.spec.name) is p]


def veiled(secret: Secret) -> Secret:
    """A secret without its content: nobody reads that but the tasks that use it."""
    return replace(secret, spec=replace(secret.spec, data=b""))


def public(cluster: Cluster) -> Cluster:
    """The cluster without the roots' keys, the tokens and the unlock key."""
    root = replace(cluster.root_ca, key_pem=b"", worker_token="", manager_token="")
    if root.rotation is not None:
        root = replace(root, rotation=replace(root.rotation, key_pem=b""))
    return replace(cluster, root_ca=root, unlock_key=b"")


def check_cluster(spec: ClusterSpec) -> None:
    """Refuse settings that would harm the cluster."""
    if not 0.2 <= spec.heartbeat_period_seconds <= 3600:
        raise InvalidArgument("the heartbeat period must be from 200ms to 1h")
    if not 2 <= spec.heartbeat_misses <= 100:
        raise InvalidArgument("the number of missed heartbeats must be from 2 to 100")
    if spec.certificate_life_seconds < 3600:
        raise InvalidArgument("certificate expiry must be at least 1h")
    if spec.snapshot_interval_entries < 100:
        raise InvalidArgument("the snapshot interval must be at least 100 entries")
    images = spec.images
    if min(images.max_age_seconds, images.grace_seconds) < 0:
        raise InvalidArgument("the age and the grace period of images must not be negative")
    if not 0 <= images.disk_low_percent <= images.disk_high_percent <= 100:
        raise InvalidArgument(
            "of the disk use at which images are removed, low must be at most high, and high at "
            "most 100"
        )


def check_pools(pools: Iterable[str], subnet_bits: int) -> None:
    """Refuse address pools out of which no network can be cut."""
    seen: list[ipaddress.IPv4Network] = []
    for text in pools:
        try:
            pool = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise InvalidArgument(f"address pool {text}: {error}") from error
        if pool.prefixlen > subnet_bits:
            raise InvalidArgument(f"address pool {text} is smaller than a subnet /{subnet_bits}")
        if any(pool.overlaps(other) for other in seen):
            raise InvalidArgument(f"address pool {text} overlaps another one")
        seen.append(pool)
    if not 8 <= subnet_bits <= 29:
        raise InvalidArgument(f"the mask length of subnets must be from 8 to 29, not {subnet_bits}")


def watched_kinds(words: Iterable[str]) -> tuple[type, ...]:
    """The record types of a watch; none named means all."""
    chosen = list(words) or list(_KINDS)
    for word in chosen:
        if word not in _KINDS:
            raise InvalidArgument(f"cannot watch '{word}', use one of {', '.join(_KINDS)}")
    return tuple(_KINDS[word] for word in chosen)


def is_watched(record: object, services: frozenset[str]) -> bool:
    """Whether a record concerns one of `services`; empty means every one."""
    if not services:
        return True
    if isinstance(record, Service):
        return record.id in services
    if isinstance(record, Task):
        return record.service_id in services
    return True


def event(record: Any, version: int, deleted: bool = False) -> control_pb2.WatchEvent:
    """A watch event; a secret goes out without its content."""
    shown = veiled(record) if isinstance(record, Secret) else record
    action = control_pb2.WatchEvent.DELETE if deleted else control_pb2.WatchEvent.PUT
    name = type(record).__name__.lower()
    return control_pb2.WatchEvent(action=action, version=version, **{name: to_message(shown)})
