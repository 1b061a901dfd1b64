"""The names of a network, as one immutable index for each version of its endpoint set.

A service's name and aliases lead to its virtual address, which outlives its tasks; `tasks.NAME`
and the names of a service without virtual address lead to the tasks that take connections, for a
few seconds only. Every name also ends in `.NETWORK`, for containers in several networks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.model import EndpointSet, EndpointState, ResolutionMode, TaskEndpoint

SERVICE_TTL_SECONDS: Final = 30
TASK_TTL_SECONDS: Final = 5


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
    tasks = [t for t in endpoints.tasks if t.task_id not in dead]
    ready: dict[str, list[str]] = {}
    found: dict[str, tuple[set[str], int]] = {}
    pointers: dict[str, str] = {}

    def add(name: str, addresses: Iterable[str], ttl_seconds: int) -> None:
        known, ttl = found.get(name.lower(), (set(), ttl_seconds))
        found[name.lower()] = (known | set(addresses), min(ttl, ttl_seconds))

    services = {service.service_id: service.name for service in endpoints.services}
    for task in tasks:
        takes = task.ready and task.state == EndpointState.UP
        if takes:
            ready.setdefault(task.service_id, []).append(task.address)
        for alias in task.aliases:
            add(alias, [task.address] if takes else [], TASK_TTL_SECONDS)
        if name := services.get(task.service_id):
            add(_task_name(task, name), [task.address], TASK_TTL_SECONDS)
            full = f"{_task_name(task, name)}.{endpoints.network_name}"
            pointers[_pointer(task.address)] = full
    # A service's aliases come with its tasks' attachments as well; its virtual address wins.
    for service in endpoints.services:
        if service.virtual_ip and service.mode == ResolutionMode.VIP:
            for alias in service.aliases:
                found.pop(alias.lower(), None)
    for service in endpoints.services:
        addresses = ready.get(service.service_id, [])
        add(f"tasks.{service.name}", addresses, TASK_TTL_SECONDS)
        names = (service.name, *service.aliases)
        if service.virtual_ip and service.mode == ResolutionMode.VIP:
            pointers[_pointer(service.virtual_ip)] = f"{service.name}.{endpoints.network_name}"
            for name in names:
                add(name, [service.virtual_ip], SERVICE_TTL_SECONDS)
        else:
            for name in names:
                add(name, addresses, TASK_TTL_SECONDS)
    return Zone(
        suffix=f".{endpoints.network_name.lower()}",
        names={name: Answer(tuple(sorted(found[name][0])), found[name][1]) for name in found},
        pointers=pointers,
    )


def look_up(zones: Iterable[Zone], name: str) -> Answer | None:
    """The answer of the first zone that knows `name`, which is in lower case; None: nobody."""
    for zone in zones:
        answer = zone.names.get(name)
        if answer is None and name.endswith(zone.suffix):
            answer = zone.names.get(name.removesuffix(zone.suffix))
        if answer is not None:
            return answer
    return None


def point(zones: Iterable[Zone], name: str) -> str | None:
    """The name of the address that `name` asks for backwards; None: nobody's."""
    return next((zone.pointers[name] for zone in zones if name in zone.pointers), None)
