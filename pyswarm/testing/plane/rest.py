"""Whether a swarm has come to rest: all that its users asked for is so, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manager.state.tables import View
from pyswarm.model import (
    Availability,
    JobState,
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
        if service.spec.mode.is_global:
            replicas = len(_taking(view))
        if service.spec.mode.is_job:
            yield from _job(service, tasks, replicas)
            continue
        wanted = [t for t in tasks if t.is_wanted]
        running = [t for t in wanted if t.status.state == TaskState.RUNNING]
        good = [t for t in running if t.spec == service.spec.task]
        if len(good) != replicas or len(wanted) != len(good):
            yield f"{name}: {len(good)} of {replicas} run, {len(wanted)} are wanted"


def _taking(view: View) -> set[str]:
    return {
        node.id
        for node in view.list(Node)
        if node.status.state == NodeState.READY and node.spec.availability == Availability.ACTIVE
    }


def _job(service: Service, tasks: Iterable[Task], wanted: int) -> Iterable[str]:
    """A job has ended: with all its completions, or with a slot that was given up."""
    name, status = service.spec.name, service.job_status
    mine = [t for t in tasks if t.job_iteration == status.iteration and t.is_wanted]
    slots = {t.slot_key for t in mine if t.status.state == TaskState.COMPLETE}
    if any(not is_terminal(t.status.state) for t in mine):
        yield f"{name} is not over"
    if status.state == JobState.ACTIVE:
        yield f"{name} is {status.state.name}"
    if status.state == JobState.COMPLETED and len(slots) < wanted:
        yield f"{name} is complete with {len(slots)} of {wanted}"
    if status.state == JobState.FAILED and not service.spec.task.restart.max_attempts:
        yield f"{name} was given up: {status.message}"


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
        if not is_terminal(task.status.state) and not task.is_wanted:
            yield f"task {task.id} shall stop"
