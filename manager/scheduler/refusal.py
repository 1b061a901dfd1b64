"""What is wrong with one node for one task, in words: the small print of the filters."""

from __future__ import annotations

from manager.placement.constraint import descriptor_value, matches, parse
from manager.scheduler.nodeinfo import NodeInfo, host_ports
from pyswarm.errors import InvalidArgument
from pyswarm.model import Availability, NodeState, Platform, Task

_STATES = {
    NodeState.UNKNOWN: "not heard of yet",
    NodeState.DOWN: "down",
    NodeState.DISCONNECTED: "disconnected",
}
_AVAILABILITIES = {Availability.PAUSE: "paused", Availability.DRAIN: "drained"}
_SUBJECTS = {
    "node.id": "its id",
    "node.hostname": "its host name",
    "node.ip": "its address",
    "node.role": "its role",
    "node.platform.os": "its operating system",
    "node.platform.arch": "its architecture",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(amount_bytes: int) -> str:
    """Bytes as a person writes them: 512MiB."""
    number, unit = float(amount_bytes), 0
    while abs(number) >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.4g}{_UNITS[unit]}"


def cpus(nano: int) -> str:
    """Billionths of a core as cores."""
    return f"{nano / 1e9:.4g}"


def not_ready(task: Task, info: NodeInfo) -> str:
    """The state and the availability, where they are wrong."""
    node = info.node
    state, availability = _STATES.get(node.status.state), node.spec.availability
    return ", ".join(filter(None, (state, _AVAILABILITIES.get(availability))))


def constraints(task: Task, info: NodeInfo) -> str:
    """Each constraint that does not hold, with what the node has instead."""
    parts = []
    for text in task.spec.placement.constraints:
        try:
            found = parse(text)
        except InvalidArgument as error:
            parts.append(error.message)
            continue
        if matches(found, info.node):
            continue
        kind, _, name = found.key.partition(".labels.")
        subject = _SUBJECTS.get(found.key) or f"{'engine ' * (kind == 'engine')}label {name}"
        has = descriptor_value(info.node, found.key)
        if found.key == "node.ip":
            has = info.node.status.address
        if not has:
            parts.append(f"{subject} is not set, {found.value} is wanted")
        elif found.equal:
            parts.append(f"{subject} is {has.lower() if not name else has}, not {found.value}")
        else:
            parts.append(f"{subject} is {has.lower() if not name else has}")
    return ", ".join(parts)


def _platform(found: Platform) -> str:
    return "/".join(part for part in (found.os, found.architecture) if part) or "unknown"


def platform(task: Task, info: NodeInfo) -> str:
    """The node's platform, and those of the image."""
    wanted = " or ".join(map(_platform, task.spec.placement.platforms))
    return f"its platform is {_platform(info.node.description.platform)}, the image's is {wanted}"


def resources(task: Task, info: NodeInfo) -> str:
    """Each kind of which too little is free."""
    wanted, parts = task.spec.resources.reservations, []
    free = max(0, info.nano_cpus_free)
    if wanted.nano_cpus > free:
        parts.append(f"{cpus(free)} CPUs free, {cpus(wanted.nano_cpus)} reserved")
    free = max(0, info.memory_bytes_free)
    if wanted.memory_bytes > free:
        parts.append(f"{size(free)} of memory free, {size(wanted.memory_bytes)} reserved")
    parts += [
        f"{left} {each.kind} free, {each.count} reserved"
        for each in wanted.generic
        if each.count > (left := info.generic.free(each.kind))
    ]
    return ", ".join(parts)


def ports(task: Task, info: NodeInfo) -> str:
    """The ports that are taken."""
    taken = [port for port in host_ports(task) if port in info.ports]
    names = ", ".join(f"{number}/{protocol.name.lower()}" for protocol, number in taken)
    return f"port {names} is in use"


def replicas(task: Task, info: NodeInfo) -> str:
    """How many tasks of the service it has."""
    most = task.spec.placement.max_replicas
    has = info.alive(task.service_id)
    return f"{has} of at most {most} {'task' if most == 1 else 'tasks'} of the service"
