"""Services: what the user asked for, and what was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from pyswarm.model.meta import Meta
from pyswarm.model.network import Endpoint, EndpointSpec
from pyswarm.model.states import TaskState
from pyswarm.model.task import Task, TaskSpec


class ServiceMode(IntEnum):
    """REPLICATED: a number of tasks; GLOBAL: one on every fitting node. The tasks of a job end,
    and then it is complete."""

    REPLICATED = 0
    GLOBAL = 1
    REPLICATED_JOB = 2
    GLOBAL_JOB = 3

    @property
    def is_job(self) -> bool:
        """Whether its tasks shall complete, and not run for ever."""
        return self in (ServiceMode.REPLICATED_JOB, ServiceMode.GLOBAL_JOB)

    @property
    def is_global(self) -> bool:
        """Whether its slots are nodes."""
        return self in (ServiceMode.GLOBAL, ServiceMode.GLOBAL_JOB)

    @property
    def word(self) -> str:
        """Docker's word for it, such as "replicated-job"."""
        return self.name.lower().replace("_", "-")


PROGRESS_DEADLINE_SECONDS: Final = 600.0
"""As in Kubernetes: longer than most pulls, short enough that no deployment hangs for a day."""


class UpdateOrder(IntEnum):
    """Whether an update stops the old task before or after the new one runs."""

    STOP_FIRST = 0
    START_FIRST = 1


class FailureAction(IntEnum):
    """What an update does when new tasks fail."""

    PAUSE = 0
    CONTINUE = 1
    ROLLBACK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """How a change is rolled out; `parallelism` 0 is all at once."""

    parallelism: int = 1
    delay_seconds: float = 0.0
    failure_action: FailureAction = FailureAction.PAUSE
    monitor_seconds: float = 5.0
    max_failure_ratio: float = 0.0
    order: UpdateOrder = UpdateOrder.STOP_FIRST
    progress_deadline_seconds: float = PROGRESS_DEADLINE_SECONDS
    """How long nothing may come forward before the update counts as failed."""

    @property
    def deadline_seconds(self) -> float:
        """The deadline; a record that was made before there was one has the default."""
        return self.progress_deadline_seconds or PROGRESS_DEADLINE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A service as the user wrote it. In a replicated job `replicas` are its completions, of which
    `max_concurrent` run at once (0: all). The tasks of a node that is lost are replaced
    `reschedule_after_seconds` after it was."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    task: TaskSpec = TaskSpec()
    mode: ServiceMode = ServiceMode.REPLICATED
    replicas: int = 1
    update: UpdateConfig = UpdateConfig()
    rollback: UpdateConfig = UpdateConfig()
    endpoint: EndpointSpec = EndpointSpec()
    max_concurrent: int = 0
    reschedule_after_seconds: float = 0.0


class UpdateState(IntEnum):
    """Where an update stands, or the rollback that followed it."""

    NONE = 0
    UPDATING = 1
    PAUSED = 2
    COMPLETED = 3
    ROLLBACK_STARTED = 4
    ROLLBACK_PAUSED = 5
    ROLLBACK_COMPLETED = 6

    @property
    def is_running(self) -> bool:
        """Whether tasks are being replaced."""
        return self in (UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED)

    @property
    def is_paused(self) -> bool:
        """Whether somebody has to say how it goes on."""
        return self in (UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED)

    @property
    def is_rollback(self) -> bool:
        """Whether it goes, or went, back to an earlier spec."""
        return self >= UpdateState.ROLLBACK_STARTED


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStatus:
    """The last update; times are seconds since the epoch, 0 where it is not so far."""

    state: UpdateState = UpdateState.NONE
    started_at: float = 0.0
    completed_at: float = 0.0
    message: str = ""
    progressed_at: float = 0.0
    """When it last came forward: a slot was begun, or more slots than ever ran the new spec."""
    updated: int = 0
    """The most slots that have run the new spec at once."""
    timed_out: bool = False
    """Whether the progress deadline has ended it."""


class JobState(IntEnum):
    """How an iteration of a job stands; FAILED: what is missing is not tried again."""

    ACTIVE = 0
    COMPLETED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """The present iteration of a job, from 0; a changed task spec begins the next.

    `last_execution` is when it was asked for, in seconds since the epoch; `message` says why it
    failed.
    """

    iteration: int = 0
    last_execution: float = 0.0
    state: JobState = JobState.ACTIVE
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service; `spec_version` counts the changes of its task spec, from 1."""

    id: str = ""
    meta: Meta = Meta()
    spec: ServiceSpec = ServiceSpec()
    spec_version: int = 0
    previous_spec: ServiceSpec | None = None
    endpoint: Endpoint = Endpoint()
    update_status: UpdateStatus = UpdateStatus()
    pending_delete: bool = False
    """The user removed it: its tasks are being stopped, and then it goes with its addresses."""
    job_status: JobStatus = JobStatus()
    revision: int = 0
    """The number of the present spec in the service's history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A spec that a service has or had; `number` counts from 1, `cause` says why it changed."""

    id: str = ""
    meta: Meta = Meta()
    service_id: str = ""
    number: int = 0
    spec: ServiceSpec = ServiceSpec()
    cause: str = ""


def is_completion(service: Service, task: Task) -> bool:
    """Whether the task is one of those that a job shall bring to an end, and has."""
    return (
        service.spec.mode.is_job
        and task.job_iteration == service.job_status.iteration
        and task.desired_state == task.status.state == TaskState.COMPLETE
    )
