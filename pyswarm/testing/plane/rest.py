"""Whether a swarm has come to rest: all that its users asked for is so, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manager.state.tables import View
from pyswarm.model import (
    Availability,
    Node,
    NodeState,
    Service,
    Task,
    TaskState,
    is_terminal,
)
from pyswarm.testing.plane.observer import Observer
from pyswarm.testing.plane.process import Host


def unrest(observer: Observer, hosts: Mapping[str, Host], leader: Host | None) -> str:
    """What is not yet as it shall be; empty at rest."""
    if leader is None:
        return "nobody leads"
    present = [host for host in hosts.values() if not host.left]
    for host in present:
        if host.is_manager and observer.applied_by.get(host.name, 0) < observer.version:
            return f"{host.name} is behind"
    problems = [
        *_nodes(observer.view, {host.node_id for host in present}),
        *_services(observer.view),
        *_containers(observer.view, hosts),
    ]
    return problems[0] if problems else ""


def _nodes(view: View, present: set[str]) -> Iterable[str]:
    for node in view.list(Node):
        if node.id in present and node.status.state != NodeState.READY:
            yield f"node {node.id} is {node.status.state.name}: {node.status.message}"
        if node.id in present and node.spec.availability != Availability.ACTIVE:
            yield f"node {node.id} is not active"


def _services(view: View) -> Iterable[str]:
    for service in view.list(Service):
        name, replicas = service.spec.name, service.spec.replicas
        if service.pending_delete:
            yield f"{name} is being removed"
        if service.update_status.state.is_running:
            yield f"{name}: {service.update_status.message}"
        tasks = view.tasks_of_service(service.id)
        wanted = [t for t in tasks if t.desired_state <= TaskState.RUNNING]
        running = [t for t in wanted if t.status.state == TaskState.RUNNING]
        good = [t for t in running if t.spec == service.spec.task]
        if len(good) != replicas or len(wanted) != len(good):
            yield f"{name}: {len(good)} of {replicas} run, {len(wanted)} are wanted"


def _containers(view: View, hosts: Mapping[str, Host]) -> Iterable[str]:
    # Of a node that left nobody reports, and its last tasks stay as they were.
    left = {host.node_id for host in hosts.values() if host.left}
    tasks = [task for task in view.list(Task) if task.node_id not in left]
    wanted = {task.id for task in tasks if task.status.state == TaskState.RUNNING}
    running = {task_id for host in hosts.values() for task_id in host.machine.running()}
    for task_id in sorted(running - wanted):
        yield f"task {task_id} runs, and nobody wants it"
    for task_id in sorted(wanted - running):
        yield f"task {task_id} shall run, and has no container"
    for task in tasks:
        if not is_terminal(task.status.state) and task.desired_state > TaskState.RUNNING:
            yield f"task {task.id} shall stop"
