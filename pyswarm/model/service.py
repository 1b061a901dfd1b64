"""Services: what the user asked for, and what was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pyswarm.model.meta import Meta
from pyswarm.model.network import Endpoint, EndpointSpec
from pyswarm.model.task import TaskSpec


class ServiceMode(IntEnum):
    """REPLICATED: a number of tasks; GLOBAL: one on every fitting node."""

    REPLICATED = 0
    GLOBAL = 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A service as the user wrote it."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    task: TaskSpec = TaskSpec()
    mode: ServiceMode = ServiceMode.REPLICATED
    replicas: int = 1
    update: UpdateConfig = UpdateConfig()
    rollback: UpdateConfig = UpdateConfig()
    endpoint: EndpointSpec = EndpointSpec()


class UpdateState(IntEnum):
    """Where an update stands."""

    NONE = 0
    UPDATING = 1
    PAUSED = 2
    COMPLETED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateStatus:
    """The last update; times are seconds since the epoch, 0 where it is not so far."""

    state: UpdateState = UpdateState.NONE
    started_at: float = 0.0
    completed_at: float = 0.0
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
