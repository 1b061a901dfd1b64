"""A container runtime in memory: containers that end when a script or a test says so.

For tests of the agent, and of a thousand nodes in one process. It keeps the promises of
`agent.executor.containers.Containers`; a container outlives the agent that made it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.executor.containers import (
    ContainerExit,
    ContainerRequest,
    ContainerSeen,
    FileChange,
    OutputLine,
)
from agent.executor.programs import ContainerUse, Program, ProgramRequest, cannot_run
from agent.runtime.command import signal_number
from agent.runtime.facts import RuntimeInfo
from pyswarm.errors import FailedPrecondition, NotFound, Unavailable
from pyswarm.model import Healthcheck
from pyswarm.registry.logins import Login


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a container does: it writes `output`, and ends with `exit_code` after `seconds`
    (None: it runs until it is told to stop); one that is `deaf` hears only SIGKILL."""

    exit_code: int = 0
    seconds: float | None = None
    output: tuple[bytes, ...] = ()
    deaf: bool = False


@dataclass(slots=True)
class FakeContainer:
    """One container; `pid` 0 until it is started; `changed`: what changed files say, by target."""

    request: ContainerRequest
    script: Script
    ended: asyncio.Future[ContainerExit]
    pid: int = 0
    changed: dict[str, bytes] = field(default_factory=dict)


def _endless(request: ContainerRequest) -> Script:
    return Script()


@dataclass(slots=True)
class FakeRuntime:
    """`script` says what a container does; `missing` images do not exist; while it is `away`
    every call raises Unavailable. `calls` holds every call, as ("start", "container id")."""

    script: Callable[[ContainerRequest], Script] = _endless
    missing: set[str] = field(default_factory=set)
    away: bool = False
    healthchecks: dict[str, Healthcheck] = field(default_factory=dict)
    answers: Callable[[str, Sequence[str]], tuple[int, bytes]] = lambda container_id, argv: (0, b"")
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    output: dict[str, list[OutputLine]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    _pids: int = 1000

    def _called(self, name: str, what: str = "") -> None:
        self.calls.append((name, what))
        if self.away:
            raise Unavailable("containerd does not answer: start it")

    def _container(self, container_id: str) -> FakeContainer:
        if container_id not in self.containers:
            raise NotFound(f"container {container_id} is gone")
        return self.containers[container_id]

    def end(self, container_id: str, exit_code: int) -> None:
        """The container ends now."""
        ended = self._container(container_id).ended
        if not ended.done():
            ended.set_result(ContainerExit(exit_code=exit_code))

    async def describe(self) -> RuntimeInfo:
        """A name that no real runtime has."""
        self._called("describe")
        return RuntimeInfo(name="fake", version="1")

    async def pull(self, image: str, login: Login | None = None) -> None:
        """There at once, or missing."""
        self._called("pull", image)
        if image in self.missing:
            raise NotFound(f"image {image} does not exist in its registry")

    async def has_image(self, image: str) -> bool:
        """Whether it is not missing."""
        self._called("has_image", image)
        return image not in self.missing

    async def healthcheck(self, image: str) -> Healthcheck | None:
        """That of `healthchecks`."""
        self._called("healthcheck", image)
        return self.healthchecks.get(image)

    async def create(self, request: ContainerRequest) -> None:
        """Remember it."""
        self._called("create", request.id)
        await self.delete(request.id)
        ended: asyncio.Future[ContainerExit] = asyncio.get_running_loop().create_future()
        self.containers[request.id] = FakeContainer(request, self.script(request), ended)
        self.output[request.id] = []

    async def start(self, container_id: str) -> int:
        """Let its script run."""
        self._called("start", container_id)
        container = self._container(container_id)
        if container.ended.done():
            raise FailedPrecondition(f"container {container_id} has ended already")
        if not container.pid:
            self._pids += 1
            container.pid = self._pids
            script = container.script
            for data in script.output:
                line = OutputLine(timestamp=time.time(), stderr=False, data=data)
                self.output[container_id].append(line)
            if script.seconds is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(script.seconds, self._end_of, container)
        return container.pid

    def _end_of(self, container: FakeContainer) -> None:
        if not container.ended.done():
            container.ended.set_result(ContainerExit(exit_code=container.script.exit_code))

    async def kill(self, container_id: str, signal: str) -> None:
        """End it with 128 and the signal's number, unless its script is deaf to it, or it is one
        that a process ignores by default."""
        self._called("kill", container_id)
        container = self._container(container_id)
        if container.ended.done():
            raise NotFound(f"container {container_id} has ended")
        number = signal_number(signal or container.request.container.stop_signal or "SIGTERM")
        if number in map(signal_number, ("SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH")):
            return
        if number == signal_number("SIGKILL") or not container.script.deaf:
            self.end(container_id, 128 + number)

    async def wait(self, container_id: str) -> ContainerExit:
        """Until it ends."""
        self._called("wait", container_id)
        return await asyncio.shield(self._container(container_id).ended)

    async def delete(self, container_id: str) -> None:
        """Who waits for it hears of a kill."""
        self._called("delete", container_id)
        if container_id in self.containers:
            self.end(container_id, 137)
            del self.containers[container_id]

    async def list(self) -> Sequence[ContainerSeen]:
        """Every container."""
        self._called("list")
        return [
            ContainerSeen(
                id=container_id,
                labels=container.request.labels,
                started=bool(container.pid),
                pid=0 if container.ended.done() else container.pid,
                exit_code=container.ended.result().exit_code if container.ended.done() else None,
            )
            for container_id, container in sorted(self.containers.items())
        ]

    async def execute(
        self, container_id: str, argv: Sequence[str], timeout_seconds: float
    ) -> tuple[int, bytes]:
        """What `answers` says."""
        self._called("execute", container_id)
        self._container(container_id)
        return self.answers(container_id, argv)

    async def run(self, container_id: str, request: ProgramRequest) -> Program:
        """Programs for somebody to talk with need a kernel."""
        self._called("run", container_id)
        self._container(container_id)
        raise cannot_run("the fake runtime runs no programs")

    async def use(self, container_id: str) -> ContainerUse:
        """A thousandth of a processor, and a page."""
        self._called("use", container_id)
        if not self._container(container_id).pid:
            raise NotFound(f"container {container_id} does not run")
        now = time.monotonic()
        return ContainerUse(
            at=now,
            cpu_seconds=now / 1000,
            memory_bytes=4096,
            memory_limit_bytes=0,
            block_read_bytes=0,
            block_written_bytes=0,
            network_received_bytes=0,
            network_sent_bytes=0,
            pids=1,
            pids_limit=0,
        )

    async def change_files(
        self, container_id: str, changes: Sequence[FileChange]
    ) -> tuple[Path, ...]:
        """Remember what each changed file says."""
        self._called("change_files", container_id)
        container = self._container(container_id)
        container.changed |= {each.target: each.source.read_bytes() for each in changes}
        return tuple(path for each in changes for path in each.earlier)

    async def logs(
        self, container_id: str, *, follow: bool, tail: int, since: float, until: float = 0.0
    ) -> AsyncIterator[OutputLine | None]:
        """What its script wrote."""
        self._called("logs", container_id)
        if container_id not in self.output:
            raise NotFound(f"container {container_id} has no logs")
        lines = self.output[container_id]
        for line in lines if tail < 0 else lines[len(lines) - min(tail, len(lines)) :]:
            if line.timestamp >= since and not (until and line.timestamp > until):
                yield line
        if follow and container_id in self.containers:
            yield None
            await asyncio.shield(self.containers[container_id].ended)

    async def delete_logs(self, container_id: str) -> None:
        """Forget its output."""
        self._called("delete_logs", container_id)
        self.output.pop(container_id, None)
