"""The names of a network, as one immutable index for each version of its endpoint set.

A service's name and aliases lead to its virtual address, which outlives its tasks; `tasks.NAME`
and the names of a service without virtual address lead to the tasks that take connections, for a
second only. Every name also ends in `.NETWORK`, for containers in several networks. An alias
may belong to several services, which share its calls; but a service's own name is its alone, so
that nobody's alias takes calls away from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.model import EndpointSet, EndpointState, ResolutionMode, TaskEndpoint

SERVICE_TTL_SECONDS: Final = 30
TASK_TTL_SECONDS: Final = 1
"""A task is stopped so long after its address went out of the answers
(`NAME_SECONDS` in manager/dispatcher/draining.py)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Addresses of a name, sorted; an empty answer is one too: the name exists."""

    addresses: tuple[str, ...]
    ttl_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The names of one network, in lower case, and `pointers` from "5.1.0.10.in-addr.arpa"."""

    suffix: str
    names: Mapping[str, Answer] = field(default_factory=dict)
    pointers: Mapping[str, str] = field(default_factory=dict)


def _pointer(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def _task_name(task: TaskEndpoint, service: str) -> str:
    return f"{service}.{task.slot or task.node_id}.{task.task_id}"


def build(endpoints: EndpointSet, dead: Collection[str]) -> Zone:
    """The zone of an endpoint set; tasks in `dead` are left out."""
    suffix = f".{endpoints.network_name.lower()}"
    if endpoints.ingress:
        # Services that publish ports would otherwise find each other across all stacks.
        return Zone(suffix=suffix)
    ready: dict[str, list[str]] = {}
    found: dict[str, tuple[set[str], int]] = {}
    pointers: dict[str, str] = {}

    def add(name: str, addresses: Iterable[str], ttl_seconds: int) -> None:
        known, ttl = found.get(name.lower(), (set(), ttl_seconds))
        found[name.lower()] = (known | set(addresses), min(ttl, ttl_seconds))

    services = {service.service_id: service for service in endpoints.services}
    for task in endpoints.tasks:
        if task.task_id in dead:
            continue
        takes = task.ready and task.state == EndpointState.UP
        if takes:
            ready.setdefault(task.service_id, []).append(task.address)
        service = services.get(task.service_id)
        for alias in task.aliases:
            # An alias of the whole service leads to its virtual address, see below.
            if service is None or alias not in service.aliases:
                add(alias, [task.address] if takes else [], TASK_TTL_SECONDS)
        if service is not None:
            name = _task_name(task, service.name)
            add(name, [task.address], TASK_TTL_SECONDS)
            pointers[_pointer(task.address)] = f"{name}.{endpoints.network_name}"
    answers = {}
    for service in endpoints.services:
        answers[service.service_id] = (ready.get(service.service_id, []), TASK_TTL_SECONDS)
        if service.virtual_ip and service.mode == ResolutionMode.VIP:
            answers[service.service_id] = ([service.virtual_ip], SERVICE_TTL_SECONDS)
            pointers[_pointer(service.virtual_ip)] = f"{service.name}.{endpoints.network_name}"
        for alias in service.aliases:
            add(alias, *answers[service.service_id])
            # In a stack the short name is an alias, and programs ask for its tasks as in Docker.
            add(f"tasks.{alias}", ready.get(service.service_id, []), TASK_TTL_SECONDS)
    for service in endpoints.services:
        for name in (service.name.lower(), f"tasks.{service.name.lower()}"):
            found.pop(name, None)
        add(service.name, *answers[service.service_id])
        add(f"tasks.{service.name}", ready.get(service.service_id, []), TASK_TTL_SECONDS)
    return Zone(
        suffix=suffix,
        names={name: Answer(tuple(sorted(found[name][0])), found[name][1]) for name in found},
        pointers=pointers,
    )


def look_up(zones: Iterable[Zone], name: str) -> Answer | None:
    """The answer of the first zone that has an address for `name`, which is in lower case; an
    empty one where it exists without any; None: nobody knows it."""
    empty = None
    for zone in zones:
        answer = zone.names.get(name)
        if answer is None and name.endswith(zone.suffix):
            answer = zone.names.get(name.removesuffix(zone.suffix))
        if answer is not None and answer.addresses:
            return answer
        empty = empty or answer
    return empty


def point(zones: Iterable[Zone], name: str) -> str | None:
    """The name of the address that `name` asks for backwards; None: nobody's."""
    return next((zone.pointers[name] for zone in zones if name in zone.pointers), None)
