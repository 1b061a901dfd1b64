"""New tasks, and questions about old ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pyswarm.model import (
    Meta,
    PortConfig,
    PublishMode,
    Service,
    Task,
    TaskState,
    TaskStatus,
    is_terminal,
)

Ids = Iterator[str]
"""Where new ids come from; the randomness is the driver's."""


def host_ports(service: Service) -> tuple[PortConfig, ...]:
    """The ports that a task opens on its own host."""
    return tuple(p for p in service.spec.endpoint.ports if p.publish_mode == PublishMode.HOST)


def new_task(
    service: Service,
    task_id: str,
    now: float,
    *,
    slot: int = 0,
    node_id: str = "",
    desired_state: TaskState = TaskState.RUNNING,
    start_after: float = 0.0,
    quick_ends: int = 0,
) -> Task:
    """A task of the service's current spec; a global one (`slot` 0) has its node from the start."""
    return Task(
        id=task_id,
        meta=Meta(created_at=now, updated_at=now),
        service_id=service.id,
        service_name=service.spec.name,
        service_labels=service.spec.labels,
        slot=slot,
        node_id=node_id,
        spec=service.spec.task,
        spec_version=service.spec_version,
        desired_state=desired_state,
        status=TaskStatus(state=TaskState.NEW, timestamp=now, message="created"),
        ports=host_ports(service),
        start_after=start_after,
        job_iteration=service.job_status.iteration,
        quick_ends=quick_ends,
    )


def is_current(service: Service, task: Task) -> bool:
    """Whether the task is what the service asks for now. A version alone says little: an update
    that is rolled back leaves tasks that are right under an older number."""
    if task.ports != host_ports(service):
        return False
    if task.job_iteration != service.job_status.iteration:
        return False
    # Within an iteration of a job nothing changes but versions of secrets and configs.
    same = task.spec is service.spec.task or service.spec.mode.is_job
    return same or task.spec == service.spec.task


def has_ended(task: Task) -> bool:
    """Whether the task will not run again."""
    return is_terminal(task.status.state)


def is_unplaced(task: Task) -> bool:
    """Whether no agent knows the task."""
    return task.status.state in (TaskState.NEW, TaskState.PENDING)


def wish(task: Task, desired_state: TaskState) -> Task:
    """The task with a later desired state; a wish never goes back."""
    return replace(task, desired_state=max(task.desired_state, desired_state))


def ended_here(task: Task, state: TaskState, message: str, now: float) -> Task:
    """The task ended by a manager, since no agent will report its end."""
    status = replace(task.status, state=state, timestamp=now, message=message)
    return replace(task, status=status)
