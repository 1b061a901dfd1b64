"""Rules that a specification must keep before it is stored, each with a sentence for the user."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from manager.control import attached, containers
from manager.placement.constraint import canonical, is_known
from manager.placement.constraint import parse as parse_constraint
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    Healthcheck,
    NetworkSpec,
    NodeSpec,
    PayloadSpec,
    PortConfig,
    PublishMode,
    ResolutionMode,
    ResourceRequirements,
    Resources,
    RestartCondition,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from pyswarm.templates import tasks as templates

HEALTH_SECONDS_MIN: Final = 0.001
NANO_CPUS_MIN: Final = 1_000_000
REPLICAS_MAX: Final = 100_000
PROGRESS_DEADLINE_SECONDS_MAX: Final = 720 * 3600.0
MEMORY_BYTES_MIN: Final = 4 * 1024 * 1024
_DNS_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*")
_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?")
_IMAGE: Final = re.compile(r"[a-zA-Z0-9][\w./:@\-]*")
LEASE_LEAST_SECONDS: Final = 10.0
"""Shorter, and a change of the leader would end tasks."""


def service_name(name: str) -> None:
    """A DNS label of at most 63 characters, since it is also the service's name in DNS."""
    if not name:
        raise InvalidArgument("a service needs a name")
    if len(name) > 63:
        raise InvalidArgument(f"service name '{name}' must be 63 characters or fewer")
    if not _DNS_LABEL.fullmatch(name):
        raise InvalidArgument(f"service name '{name}' must be valid as a DNS name component")


def payload(kind: str, spec: PayloadSpec, bytes_max: int) -> None:
    """A secret's or config's name and size; `kind` is the word for the message."""
    if not _NAME.fullmatch(spec.name) or len(spec.name) > 64:
        raise InvalidArgument(
            f"invalid {kind} name '{spec.name}', only 64 [a-zA-Z0-9-_.] characters allowed, and "
            "the start and end character must be [a-zA-Z0-9]"
        )
    attached.template(spec)
    if not 0 < len(spec.data) < bytes_max:
        raise InvalidArgument(
            f"{kind} data must be larger than 0 and less than {bytes_max} bytes, "
            f"not {len(spec.data)}"
        )


def network(spec: NetworkSpec) -> None:
    """A network's name, driver and subnet."""
    if not _NAME.fullmatch(spec.name):
        raise InvalidArgument(f"network name '{spec.name}' is not valid: use letters, digits, -_.")
    if spec.driver not in ("", "overlay"):
        raise InvalidArgument(
            f"network {spec.name}: driver '{spec.driver}' is not known here, use overlay"
        )
    if "encrypted" in spec.driver_options:
        raise InvalidArgument(
            f"network {spec.name}: encrypted networks are not available in this version; "
            "a network is never left in the clear where encryption was asked for"
        )
    if spec.gateway and not spec.subnet:
        raise InvalidArgument(f"network {spec.name}: a gateway needs a subnet")
    if not spec.subnet:
        return
    try:
        subnet = ipaddress.IPv4Network(spec.subnet)
    except ValueError as error:
        raise InvalidArgument(f"network {spec.name}: subnet {spec.subnet}: {error}") from error
    if subnet.prefixlen > 29:
        raise InvalidArgument(f"network {spec.name}: subnet {spec.subnet} is too small, use /29")
    if spec.gateway and spec.gateway not in map(str, subnet.hosts()):
        raise InvalidArgument(f"network {spec.name}: gateway {spec.gateway} is not in its subnet")


def node(spec: NodeSpec) -> None:
    """A node's labels."""
    for key in spec.labels:
        if not key:
            raise InvalidArgument("a node label needs a key")


def _resources(kind: str, amount: Resources) -> None:
    if amount.nano_cpus < 0 or 0 < amount.nano_cpus < NANO_CPUS_MIN:
        raise InvalidArgument(
            f"invalid cpu {kind} {amount.nano_cpus / 1e9:g}: must be at least 0.001"
        )
    if amount.memory_bytes < 0 or 0 < amount.memory_bytes < MEMORY_BYTES_MIN:
        raise InvalidArgument(f"invalid memory {kind} {amount.memory_bytes}: must be at least 4MiB")
    if amount.pids < 0:
        raise InvalidArgument(f"invalid pids {kind} {amount.pids}: must not be negative")


def _generic(resources: ResourceRequirements) -> None:
    if resources.limits.generic:
        raise InvalidArgument("generic resources are reserved and not limited")
    kinds = set()
    for each in resources.reservations.generic:
        if each.value or not each.kind or each.count < 1:
            raise InvalidArgument(
                f"invalid generic-resource request `{each.kind}={each.value or each.count}`: ask "
                "for a number, 1 or more"
            )
        if each.kind in kinds:
            raise InvalidArgument(f"duplicate generic-resource `{each.kind}` for service task")
        kinds.add(each.kind)


def task(spec: TaskSpec) -> None:
    """What every task of a service is made from, without its container's options."""
    container = spec.container
    if not _IMAGE.fullmatch(container.image):
        raise InvalidArgument(f"image '{container.image}' is not a valid image reference")
    _resources("limit", spec.resources.limits)
    _resources("reservation", spec.resources.reservations)
    _generic(spec.resources)
    for text in spec.placement.spread:
        if not is_known(canonical(text)):
            raise InvalidArgument(
                f"placement preference spread={text} is not known, use node.labels.NAME or "
                "engine.labels.NAME"
            )
    for text in spec.placement.constraints:
        # A key that nothing can have is refused here, and not left pending.
        parse_constraint(text)
    if spec.placement.max_replicas < 0 or spec.restart.max_attempts < 0:
        raise InvalidArgument("a count must not be negative")
    for value in (spec.restart.delay_seconds, spec.restart.window_seconds):
        containers.seconds(value, "a restart delay or window")
    containers.seconds(spec.stop_after_seconds, "on-partition: stop-after")
    if 0 < spec.stop_after_seconds < LEASE_LEAST_SECONDS:
        raise InvalidArgument(
            f"on-partition: stop-after must be at least {LEASE_LEAST_SECONDS:g}s: a change "
            "of the leader takes a few seconds"
        )
    secrets = attached.files("secret", container.secrets, "/run/secrets")
    if both := secrets & attached.files("config", container.configs, "/"):
        raise InvalidArgument(f"a secret and a config have a conflicting target: '{min(both)}'")
    if container.healthcheck is not None:
        _healthcheck(container.healthcheck)


def _healthcheck(check: Healthcheck) -> None:
    for name, seconds in (
        ("Interval", check.interval_seconds),
        ("Timeout", check.timeout_seconds),
        ("StartPeriod", check.start_period_seconds),
        ("StartInterval", check.start_interval_seconds),
    ):
        containers.seconds(seconds, f"{name} in Healthcheck")
        if 0 < seconds < HEALTH_SECONDS_MIN:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f'Unknown healthcheck type "{check.test[0]}"')
    if check.test and check.test[0] != "NONE" and len(check.test) < 2:
        raise InvalidArgument(f"the healthcheck {check.test[0]} names no command")


def _ports(ports: Iterable[PortConfig], mode: ResolutionMode) -> None:
    seen = set()
    for port in ports:
        if not 0 < port.target_port < 65536 or not 0 <= port.published_port < 65536:
            raise InvalidArgument(
                f"port {port.published_port}:{port.target_port} is not from 1 to 65535"
            )
        if mode == ResolutionMode.DNSRR and port.publish_mode == PublishMode.INGRESS:
            raise InvalidArgument(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"
            )
        key = (port.protocol, port.published_port)
        if port.published_port and key in seen:
            raise InvalidArgument(
                f"EndpointSpec: duplicate published ports provided: {port.published_port}"
            )
        seen.add(key)


def _job(spec: ServiceSpec) -> None:
    """What a job cannot have, since its tasks end and are not updated one after the other."""
    if spec.max_concurrent < 0:
        raise InvalidArgument(f"service {spec.name}: max concurrent must not be negative")
    if spec.max_concurrent and spec.mode != ServiceMode.REPLICATED_JOB:
        raise InvalidArgument(
            f"service {spec.name}: max-concurrent can only be used with replicated-job mode"
        )
    if not spec.mode.is_job:
        return
    if spec.update != UpdateConfig() or spec.rollback != UpdateConfig():
        raise InvalidArgument(
            f"service {spec.name}: a job may not have an update or rollback config; "
            "a changed job begins anew"
        )
    if spec.task.restart.condition == RestartCondition.ANY:
        raise InvalidArgument(
            f"service {spec.name}: a job may not have the restart condition any, which would run "
            "completed tasks again; use on-failure or none"
        )


def service(spec: ServiceSpec) -> None:
    """A whole service specification."""
    service_name(spec.name)
    if "" in spec.labels:
        raise InvalidArgument(f"service {spec.name}: a label needs a key")
    _job(spec)
    if spec.task.placement.max_replicas and spec.mode.is_global:
        raise InvalidArgument(
            f"service {spec.name}: replicas-max-per-node can only be used with replicated mode"
        )
    if spec.replicas < 0:
        raise InvalidArgument(f"service {spec.name}: replicas must not be negative")
    containers.seconds(spec.reschedule_after_seconds, f"service {spec.name}: reschedule-after")
    if spec.reschedule_after_seconds and spec.mode.is_global:
        raise InvalidArgument(
            f"service {spec.name}: reschedule-after can only be used with replicated or "
            "replicated-job mode: a global task has no place but its node"
        )
    if spec.replicas > REPLICAS_MAX:
        raise InvalidArgument(
            f"service {spec.name}: {spec.replicas} replicas are more than {REPLICAS_MAX}"
        )
    for update in (spec.update, spec.rollback):
        if update.parallelism < 0:
            raise InvalidArgument(f"service {spec.name}: an update's parallelism is negative")
        for value in (update.delay_seconds, update.monitor_seconds):
            containers.seconds(value, f"service {spec.name}: an update's delay or monitor")
        deadline = update.progress_deadline_seconds
        # 0 is what a client says that knows of no deadline: it gets the default.
        if deadline and not 1 <= deadline <= PROGRESS_DEADLINE_SECONDS_MAX:
            raise InvalidArgument(
                f"service {spec.name}: the progress deadline must be from 1s to 720h"
            )
        if not 0 <= update.max_failure_ratio <= 1:
            raise InvalidArgument(f"service {spec.name}: max failure ratio must be from 0 to 1")
    try:
        task(spec.task)
        containers.task(spec.task, templates.check(spec))
        _ports(spec.endpoint.ports, spec.endpoint.mode)
    except InvalidArgument as error:
        raise InvalidArgument(f"service {spec.name}: {error.message}") from error
