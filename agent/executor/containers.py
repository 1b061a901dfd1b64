"""What the executor needs of a container runtime, and what it asks it to run.

The runtime knows containers and images; tasks, networks and secrets are none of its business: it
is given a network namespace and mounts that are already there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from agent.executor.programs import ContainerUse, Program, ProgramRequest
from pyswarm.model import ContainerSpec, Healthcheck, MemorySwap, Mount, Resources, Task
from pyswarm.registry.logins import Login

TASK_LABEL: Final = "pyswarm.task"
"""The label that makes a container ours; its value is the task's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRequest:
    """A container to create. `container` has its placeholders filled; `mounts` holds every bind
    and tmpfs, those of `container.mounts` included; `namespace` is a path. Swap is as in
    `ResourceRequirements`."""

    id: str
    container: ContainerSpec
    limits: Resources
    memory_swap: MemorySwap | None = None
    mounts: tuple[Mount, ...]
    namespace: str
    hostname: str
    labels: Mapping[str, str] = field(default_factory=dict)
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSeen:
    """A container as the runtime knows it; `exit_code` None while it runs or before it does."""

    id: str
    labels: Mapping[str, str]
    started: bool
    pid: int = 0
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerExit:
    """How a container ended; `out_of_memory`: the kernel killed a process of it for want of it."""

    exit_code: int
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """One line of output; `timestamp` since the epoch."""

    timestamp: float
    stderr: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """The file `source` of this host is to be seen at `target`, where the container has mounted one
    of `earlier`, which lie beside it."""

    source: Path
    target: str
    earlier: tuple[Path, ...] = ()


class Containers(Protocol):
    """Every call raises SwarmError, `temporary` where a retry can help; NotFound where there is
    no such container or image."""

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Have the image here; one that is pinned by digest and here is not fetched again. The
        registry is shown the login."""

    async def has_image(self, image: str) -> bool:
        """Whether the image is here, so that it can run although its registry is away."""
        ...

    async def healthcheck(self, image: str) -> Healthcheck | None:
        """The image's own health check."""
        ...

    async def create(self, request: ContainerRequest) -> None:
        """Create the container; what is left of one of this id is replaced."""

    async def start(self, container_id: str) -> int:
        """Start it; answers the pid."""
        ...

    async def kill(self, container_id: str, signal: str) -> None:
        """Send a signal; empty is the image's stop signal, or SIGTERM."""

    async def wait(self, container_id: str) -> ContainerExit:
        """Until it has ended, also long ago."""
        ...

    async def delete(self, container_id: str) -> None:
        """Remove it, running or not; its logs stay. Nothing happens where it is gone."""

    async def list(self) -> Sequence[ContainerSeen]:
        """The containers that carry TASK_LABEL."""
        ...

    async def execute(
        self, container_id: str, argv: Sequence[str], timeout_seconds: float
    ) -> tuple[int, bytes]:
        """Run a program in the container; answers exit code and the first 4096 bytes of output.
        Raises DeadlineExceeded, the program killed."""
        ...

    async def run(self, container_id: str, request: ProgramRequest) -> Program:
        """Run a program in the container and talk with it; the caller closes it. Raises CannotRun
        with an exit code, NotFound, FailedPrecondition where the container does not run."""
        ...

    async def use(self, container_id: str) -> ContainerUse:
        """What the container uses; raises NotFound where it does not run."""
        ...

    async def change_files(
        self, container_id: str, changes: Sequence[FileChange]
    ) -> tuple[Path, ...]:
        """Have a container that runs see other files, each from one moment to the next; answers
        the earlier ones that it has mounted no more: the others must stay where they are. A target
        at which the container has put something else is left. Raises NotFound where it does not
        run."""
        ...

    def logs(
        self, container_id: str, *, follow: bool, tail: int, since: float, until: float = 0.0
    ) -> AsyncIterator[OutputLine | None]:
        """Its output, the last `tail` lines (-1: all), of times in [since, until] (0: without end).
        `follow`: one None where what follows is new, and then to the container's end."""
        ...

    async def delete_logs(self, container_id: str) -> None:
        """Remove its logs."""


def container_id(task: Task) -> str:
    """A task has one container, and it bears the task's id."""
    return task.id


def labels(task: Task) -> dict[str, str]:
    """The container's labels: the user's, and Docker's own that tools look for."""
    return {
        **task.spec.container.labels,
        "com.docker.swarm.task.id": task.id,
        "com.docker.swarm.task.name": task.name,
        "com.docker.swarm.service.id": task.service_id,
        "com.docker.swarm.service.name": task.service_name,
        "com.docker.swarm.node.id": task.node_id,
        TASK_LABEL: task.id,
    }
