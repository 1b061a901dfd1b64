"""What `node ls` and `node inspect` say of a node beside its record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyswarm.cli.jsonview import timestamp
from pyswarm.cli.render import clean, human_duration, human_size, title
from pyswarm.model import Node, NodeState, Resources, Task, TaskState, is_terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What follows from other records: what its `tasks` have reserved, and how its certificate
    stands: Ready, Needs Rotation (its root is not the swarm's newest) or Unknown."""

    tls_status: str = "Unknown"
    reserved: Resources = Resources()
    tasks: int = 0


def node_facts(node: Node, tasks: Iterable[Task], root: str) -> NodeFacts:
    """The facts of a node; `tasks` may be those of others too, `root` is the digest of the root
    that every certificate should be of."""
    present = [
        task
        for task in tasks
        if task.node_id == node.id
        and task.status.state >= TaskState.ASSIGNED
        and not is_terminal(task.status.state)
    ]
    reserved = [task.spec.resources.reservations for task in present]
    return NodeFacts(
        tls_status=tls_status(node, root),
        reserved=Resources(
            nano_cpus=sum(each.nano_cpus for each in reserved),
            memory_bytes=sum(each.memory_bytes for each in reserved),
            pids=sum(each.pids for each in reserved),
        ),
        tasks=len(present),
    )


def tls_status(node: Node, root: str) -> str:
    """Docker's word for how the node's certificate stands."""
    if not node.description.certificate_root:
        return "Unknown"
    return "Ready" if node.description.certificate_root == root else "Needs Rotation"


def _cpus(nano_cpus: int) -> str:
    return f"{nano_cpus / 1e9:g}"


def more_values(node: Node, facts: NodeFacts) -> Mapping[str, str]:
    """The placeholders of `node ls --format` beyond the columns."""
    size, reserved = node.description.resources, facts.reserved
    return {
        "TLSStatus": facts.tls_status,
        "TLSExpiry": timestamp(node.certificates_end_at),
        "Address": node.status.address,
        "CPUs": _cpus(size.nano_cpus),
        "Memory": human_size(size.memory_bytes),
        "ReservedCPUs": _cpus(reserved.nano_cpus),
        "ReservedMemory": human_size(reserved.memory_bytes),
        "Tasks": str(facts.tasks),
        "Labels": _labels(node.spec.labels),
        "EngineLabels": _labels(node.description.engine_labels),
        "Message": node.status.message,
    }


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def pretty(node: Node, facts: NodeFacts, now: float) -> str:
    """`node inspect --pretty`, with Docker's words."""
    about, size, reserved = node.description, node.description.resources, facts.reserved
    lines = [_line("ID:", node.id), *_listed("Labels:", node.spec.labels)]
    lines += [
        _line("Hostname:", about.hostname),
        _line("Joined at:", timestamp(node.meta.created_at)),
        "Status:",
        _line(" State:", title(node.status.state.name)),
        _line(" Message:", node.status.message),
        _line(" Availability:", title(node.spec.availability.name)),
        _line(" Address:", node.status.address),
    ]
    if node.status.state == NodeState.DOWN and node.status.silent_since:
        silent = human_duration(now - node.status.silent_since).lower()
        lines.append(_line(" Silent for:", silent))
    if node.manager is not None:
        lines += [
            "Manager Status:",
            _line(" Address:", node.manager.address),
            _line(" Raft Status:", title(node.manager.reachability.name)),
            _line(" Leader:", "Yes" if node.manager.leader else "No"),
        ]
    lines += [
        "Platform:",
        _line(" Operating System:", about.platform.os),
        _line(" Architecture:", about.platform.architecture),
        "Resources:",
        _line(" CPUs:", f"{_cpus(size.nano_cpus)} ({_cpus(reserved.nano_cpus)} reserved)"),
        _line(
            " Memory:",
            f"{human_size(size.memory_bytes)} ({human_size(reserved.memory_bytes)} reserved)",
        ),
        _line(" Tasks:", str(facts.tasks)),
        _line("Engine Version:", about.engine_version),
        _line("Runtime:", about.runtime),
        *_listed("Engine Labels:", about.engine_labels),
        "TLS Info:",
        _line(" Status:", facts.tls_status),
        _line(" Root:", about.certificate_root),
        _line(" Expires:", _expiry(node.certificates_end_at, now)),
    ]
    return "\n".join(line for line in lines if line)


def _line(label: str, text: str) -> str:
    return f"{label.ljust(24)}{clean(text)}" if text else ""


def _listed(label: str, labels: Mapping[str, str]) -> list[str]:
    if not labels:
        return []
    return [label, *(clean(f" - {key}={labels[key]}") for key in sorted(labels))]


def _expiry(at: float, now: float) -> str:
    if not at:
        return ""
    left = human_duration(abs(at - now)).lower()
    return f"{timestamp(at)} (in {left})" if at > now else f"{timestamp(at)} ({left} ago)"
