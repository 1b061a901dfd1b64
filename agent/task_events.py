"""The words of a task's machine: what can happen to a task, and what can be asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pyswarm.model import Task, TaskHealth, TaskStatus


class Step(Enum):
    """What the executor can be asked to do and can fail at."""

    PREPARE = "prepare"
    START = "start"
    DRAIN = "drain"
    STOP = "stop"
    KILL = "kill"
    CLEAN = "clean"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Pull the image, join the networks, write the files, create the container."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the container, and from then on tell when it exits."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The container runs already: answer `Started` again, and tell when it exits."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the ports that the task has on this host take no new connection."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Send the stop signal; empty is the image's, or else SIGTERM."""

    signal: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Break off the step in flight; no event follows from it."""


@dataclass(frozen=True, slots=True)
class Clean:
    """Remove the container, its place in the networks and its files; its logs stay."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove everything of the task, its logs too."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the managers, and remember across a restart."""

    status: TaskStatus


Command = Prepare | Start | Watch | Drain | Stop | Kill | Cancel | Clean | Remove | Report


@dataclass(frozen=True, slots=True)
class Found:
    """A container of the task that was there when the agent came up; `exit_code` None: it runs."""

    container_id: str
    pid: int = 0
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """The first event: the task is assigned here, now or before the agent was restarted."""

    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Updated:
    """The managers changed their wish: desired state or start time."""

    task: Task


@dataclass(frozen=True, slots=True)
class Unassigned:
    """The managers forgot the task: everything of it goes."""


@dataclass(frozen=True, slots=True)
class DependenciesReady:
    """Every secret and config that the task refers to is here."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`Prepare` succeeded."""


@dataclass(frozen=True, slots=True)
class Started:
    """`Start` succeeded; `has_healthcheck`: the task is RUNNING only when
    `Checked` says that it is healthy."""

    container_id: str
    pid: int
    has_healthcheck: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """What the health check says is new: the task is RUNNING once it is healthy, and ends when it
    is unhealthy."""

    health: TaskHealth


@dataclass(frozen=True, slots=True)
class LeaseOver:
    """No manager was there for so long that the task may not go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The container ended; `reason` says more than the code where something is known."""

    exit_code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed; a temporary failure is worth a retry."""

    step: Step
    error: str
    temporary: bool


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`Clean` succeeded."""


@dataclass(frozen=True, slots=True)
class Removed:
    """`Remove` succeeded: the machine is at its end."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline passed."""


Event = (
    Begin
    | Updated
    | Unassigned
    | DependenciesReady
    | Prepared
    | Started
    | Checked
    | LeaseOver
    | Exited
    | Failed
    | Cleaned
    | Removed
    | Tick
)
