"""A machine without a kernel: containers, their files, and what the agent remembers.

Containers live as long as the machine has power, whatever becomes of the daemon.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from agent.executor.containers import (
    TASK_LABEL,
    ContainerExit,
    ContainerRequest,
    ContainerSeen,
    FileChange,
    OutputLine,
)
from agent.executor.programs import ContainerUse, Program, ProgramRequest, cannot_run
from agent.runtime.facts import RuntimeInfo
from agent.volumes.report import NodeVolume
from pyswarm.errors import FailedPrecondition, NotFound
from pyswarm.model import ContainerSpec, EndpointSet, Healthcheck, Mount, Node, Task, VolumeSpec
from pyswarm.registry.logins import Login
from pyswarm.testing.fake_overlay import FakeApplied, FakeOverlay
from pyswarm.wire import decode


@dataclass(slots=True, eq=False)
class Container:
    """One container: made, running from `pid` on, ended with `exited`."""

    request: ContainerRequest
    pid: int = 0
    signalled: bool = False
    exited: ContainerExit | None = None
    waiters: list[asyncio.Future[ContainerExit]] = field(default_factory=list)

    @property
    def task_id(self) -> str:
        """The task that it runs."""
        return self.request.labels[TASK_LABEL]

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return bool(self.pid) and self.exited is None


JOB_IMAGE = "job:"
"""What begins so runs for a moment, and then ends by itself."""


class Machine:
    """What a host has beside the daemon. It is the agent's `Containers`.

    `on_start(host, task id)` and `on_end` tell the observer what really runs, `on_signal(task id)`
    that it is asked to end, the first time; `after` calls a function after so many seconds,
    whatever becomes of the daemon.
    """

    def __init__(
        self,
        name: str,
        chance: random.Random,
        after: Callable[..., object],
        on_start: Callable[[str, str], None],
        on_end: Callable[[str, str], None],
        on_signal: Callable[[str], None],
    ) -> None:
        self.name = name
        self.containers: dict[str, Container] = {}
        self.namespaces: dict[str, str] = {}
        self.files: set[str] = set()
        self.memory = Memory()
        self.slow = 1.0
        self._chance = chance
        self._after = after
        self._on_start = on_start
        self._on_end = on_end
        self._on_signal = on_signal
        self._pids = 100

    def power_cut(self) -> None:
        """Everything that is not on disk is gone."""
        for container in list(self.containers.values()):
            self._end(container, 137)
        self.containers.clear()
        self.namespaces.clear()
        self.files.clear()
        self.memory.power_cut(self._chance)

    def running(self) -> list[str]:
        """The tasks whose containers run."""
        return [c.task_id for c in self.containers.values() if c.runs]

    def fail(self, container: Container) -> None:
        """The program in it crashes."""
        self._end(container, 1)

    async def _takes(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.slow * (0.5 + self._chance.random()))

    def _container(self, container_id: str) -> Container:
        if container_id not in self.containers:
            raise NotFound(f"container {container_id} is gone")
        return self.containers[container_id]

    def _end(self, container: Container, exit_code: int) -> None:
        if container.exited is not None:
            return
        container.exited = ContainerExit(exit_code=exit_code)
        if container.pid:
            self._on_end(self.name, container.task_id)
        for waiter in container.waiters:
            if waiter.get_loop().is_running() and not waiter.done():
                waiter.set_result(container.exited)
        container.waiters.clear()

    # ---- agent.executor.containers.Containers ----

    async def describe(self) -> RuntimeInfo:
        """A name that no real runtime has."""
        return RuntimeInfo(name="simulated", version="1")

    async def pull(self, image: str, login: Login | None = None) -> None:
        """A moment."""
        await self._takes(0.1)

    async def has_image(self, image: str) -> bool:
        """Always."""
        return True

    async def healthcheck(self, image: str) -> Healthcheck | None:
        """None."""
        return None

    async def create(self, request: ContainerRequest) -> None:
        """Replace what bears the name."""
        await self._takes(0.03)
        await self.delete(request.id)
        self.containers[request.id] = Container(request)

    async def start(self, container_id: str) -> int:
        """Run it."""
        await self._takes(0.05)
        container = self._container(container_id)
        if container.exited is not None:
            raise FailedPrecondition(f"container {container_id} has ended already")
        if not container.pid:
            self._pids += 1
            container.pid = self._pids
            self._on_start(self.name, container.task_id)
            if container.request.container.image.startswith(JOB_IMAGE):
                exit_code = 0 if self._chance.random() < 0.85 else 1
                self._after(self._chance.uniform(0.2, 4.0), self._end, container, exit_code)
        return container.pid

    async def kill(self, container_id: str, signal: str) -> None:
        """End it; now and then it does not hear SIGTERM."""
        container = self._container(container_id)
        if container.exited is not None:
            raise NotFound(f"container {container_id} has ended")
        if not container.signalled:
            container.signalled = True
            self._on_signal(container.task_id)
        if signal == "SIGKILL" or self._chance.random() < 0.95:
            await self._takes(0.05)
            self._end(container, 137 if signal == "SIGKILL" else 143)

    async def wait(self, container_id: str) -> ContainerExit:
        """Until it ends."""
        container = self._container(container_id)
        if container.exited is not None:
            return container.exited
        waiter = asyncio.get_running_loop().create_future()
        container.waiters.append(waiter)
        exited: ContainerExit = await waiter
        return exited

    async def delete(self, container_id: str) -> None:
        """Kill and forget it."""
        container = self.containers.get(container_id)
        if container is not None:
            self._end(container, 137)
            del self.containers[container_id]

    async def list(self) -> Sequence[ContainerSeen]:
        """Every container."""
        return [
            ContainerSeen(
                id=container_id,
                labels=container.request.labels,
                started=bool(container.pid),
                pid=container.pid if container.runs else 0,
                exit_code=container.exited.exit_code if container.exited else None,
            )
            for container_id, container in sorted(self.containers.items())
        ]

    async def execute(
        self, container_id: str, argv: Sequence[str], timeout_seconds: float
    ) -> tuple[int, bytes]:
        """Succeed."""
        return 0, b""

    async def run(self, container_id: str, request: ProgramRequest) -> Program:
        """Nothing runs here."""
        raise cannot_run("the simulation runs no programs")

    async def use(self, container_id: str) -> ContainerUse:
        """Nothing is used here."""
        raise NotFound(f"container {container_id} does not run")

    async def change_files(
        self, container_id: str, changes: Sequence[FileChange]
    ) -> tuple[Path, ...]:
        """Nothing is looked at here."""
        return tuple(path for change in changes for path in change.earlier)

    async def logs(
        self, container_id: str, *, follow: bool, tail: int, since: float, until: float = 0.0
    ) -> AsyncIterator[OutputLine | None]:
        """Nothing."""
        return
        yield

    async def delete_logs(self, container_id: str) -> None:
        """Nothing."""


class Overlay(FakeOverlay):
    """A machine's overlay; `show` is told the sets that it runs."""

    def __init__(self, show: Callable[[Sequence[EndpointSet]], None]) -> None:
        super().__init__()
        self._show = show
        show(())

    async def apply(self, sets: Sequence[EndpointSet]) -> FakeApplied:
        """Take the sets, and show them."""
        self._show(sets)
        return await super().apply(sets)


class Files:
    """`agent.mounts.driver.TaskFiles`: the names of the tasks that have files here."""

    def __init__(self, machine: Machine) -> None:
        self._files = machine.files
        self.volumes = Volumes()

    def prepare(
        self,
        task: Task,
        container: ContainerSpec,
        secrets: Mapping[str, bytes],
        configs: Mapping[str, bytes],
        private: frozenset[str],
        volumes: Mapping[str, VolumeSpec],
    ) -> tuple[Mount, ...]:
        """Remember that it has some."""
        self._files.add(task.id)
        return ()

    def is_stale(self, task: Task) -> bool:
        """No secrets."""
        return False

    def forget(self, task_id: str) -> None:
        """Nothing: no task has a volume."""

    def forgotten(self, known: frozenset[str]) -> tuple[str, ...]:
        """Nobody."""
        return ()

    def held(self) -> frozenset[str]:
        """No secrets."""
        return frozenset()

    def remove(self, task_id: str) -> None:
        """Forget."""
        self._files.discard(task_id)

    def strays(self, assigned: frozenset[str]) -> tuple[str, ...]:
        """Files that nobody wants."""
        return tuple(sorted(self._files - assigned))


class Volumes:
    """`agent.volumes.disk.VolumeDirectory` of a machine on which no task has a volume."""

    def refuse(self, names: Collection[str]) -> None:
        """There is none of these."""

    def list(self) -> tuple[NodeVolume, ...]:
        """None."""
        return ()

    def remove(self, name: str) -> int:
        """It is gone."""
        return 0


class Memory:
    """`agent.disk.WorkerState` without files: records by reference, the latest of which a power
    cut takes away, since the agent syncs nothing."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._networks: dict[str, bytes] = {}
        self._managers: tuple[str, ...] = ()
        self._node: Node | None = None
        self._contact: float | None = None
        self._recent: list[tuple[dict[str, Any], str, Any]] = []

    def power_cut(self, chance: random.Random) -> None:
        """Undo the last few changes."""
        for _ in range(chance.randrange(len(self._recent) + 1)):
            table, key, old = self._recent.pop()
            if old is None:
                table.pop(key, None)
            else:
                table[key] = old
        self._recent.clear()

    def _set(self, table: dict[str, Any], key: str, value: Any) -> None:
        self._recent.append((table, key, table.get(key)))
        del self._recent[:-20]
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value

    def tasks(self) -> list[Task]:
        """Sorted by id."""
        return [self._tasks[key] for key in sorted(self._tasks)]

    def save_task(self, task: Task) -> None:
        """Remember."""
        self._set(self._tasks, task.id, task)

    def drop_task(self, task_id: str) -> None:
        """Forget."""
        self._set(self._tasks, task_id, None)

    def networks(self) -> list[EndpointSet]:
        """Sorted by id."""
        return [decode(EndpointSet, self._networks[key]) for key in sorted(self._networks)]

    def save_network(self, network_id: str, encoded: bytes) -> None:
        """Remember."""
        self._set(self._networks, network_id, encoded)

    def drop_network(self, network_id: str) -> None:
        """Forget."""
        self._set(self._networks, network_id, None)

    def managers(self) -> tuple[str, ...]:
        """As last known."""
        return self._managers

    def save_managers(self, addresses: Iterable[str]) -> None:
        """Remember."""
        self._managers = tuple(addresses)

    def node(self) -> Node | None:
        """As last known."""
        return self._node

    def save_node(self, node: Node) -> None:
        """Remember."""
        self._node = node

    def contact(self, now: float) -> float:
        """As last known."""
        return now if self._contact is None else min(self._contact, now)

    def save_contact(self, at: float) -> None:
        """Remember."""
        self._contact = at

    def wipe(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]


MACHINES: dict[str, Machine] = {}
"""The machines of the simulation that runs, by the first part of a path on them."""


def files_of(run_directory: PurePath, state_directory: PurePath) -> Files:
    """In the place of `TaskFiles`."""
    del state_directory
    return Files(MACHINES[run_directory.parts[1]])


def memory_of(directory: PurePath) -> Memory:
    """In the place of `WorkerState`."""
    return MACHINES[directory.parts[1]].memory
