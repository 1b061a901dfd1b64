"""The container runtime of the agent: `agent.executor.containers.Containers` on containerd.

Containers belong to containerd and its shims. They live on while this process or containerd is
away, and everything that is known of them is asked for anew.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

from agent.executor.containers import (
    TASK_LABEL,
    ContainerExit,
    ContainerRequest,
    ContainerSeen,
    FileChange,
    OutputLine,
)
from agent.executor.programs import ContainerUse, Program, ProgramRequest
from agent.runtime import host, logreader, statistics
from agent.runtime.client import Containerd
from agent.runtime.collector import Collector
from agent.runtime.command import signal_number
from agent.runtime.create import SNAPSHOTTER, STOP_SIGNAL_LABEL, Creator
from agent.runtime.exchange import exchange
from agent.runtime.execute import execute
from agent.runtime.facts import RuntimeInfo
from agent.runtime.failures import sentence
from agent.runtime.images import Image, Images
from agent.runtime.inventory import Inventory
from agent.runtime.locks import KeyedLocks, in_thread, to_the_end
from agent.runtime.logplan import NONE
from agent.runtime.program import run_program, sweep
from agent.runtime.rootfs import clean
from pyswarm.aio import Supervisor
from pyswarm.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    SwarmError,
    Unavailable,
)
from pyswarm.model import Healthcheck
from pyswarm.registry.client import Registry
from pyswarm.registry.logins import Login

log = logging.getLogger(__name__)

DESCRIBE_SECONDS: Final = 5.0
KILL_SECONDS: Final = 10.0
DELETE_TRIES: Final = 5
RECONNECT_SECONDS: Final = 0.05
SIGKILL: Final = 9
# containerd.v1.types.Status
_CREATED: Final = 1
_STOPPED: Final = 3


class ContainerdRuntime:
    """containerd at `socket`, with its containers in the cgroup `cgroup_parent`.

    `state_directory` keeps the logs, `run_directory` FIFOs and what a reboot may take. containerd
    must live in the same mount namespace. Call `connect` first and `close` last.
    """

    def __init__(
        self,
        socket: Path,
        state_directory: Path,
        run_directory: Path,
        *,
        cgroup_parent: str,
        insecure_registries: Collection[str],
    ) -> None:
        self._socket = socket
        self._cgroup_parent = cgroup_parent
        self._mount_points = run_directory / "rootfs"
        self._runc = run_directory / "runc"
        self._fifos = run_directory / "fifo"
        self._programs = run_directory / "exec"
        self._logs = state_directory / "logs"
        self._registry = Registry(insecure_registries)
        self._locks = KeyedLocks()

    async def connect(self) -> None:
        """Take up the output of containers that run; containerd itself may come later."""
        for path in (self._mount_points, self._runc, self._programs):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._mount_points.iterdir():
            clean(left)
        host.make_cgroup_parent(self._cgroup_parent)
        self._containerd = Containerd(self._socket)
        self._collector = Collector(self._fifos, self._logs)
        self._collector.start()
        self._background = Supervisor("runtime")
        self._background.start(sweep(self._containerd, sorted(self._programs.iterdir())), "sweep")
        facts = host.facts()
        self._images = Images(self._containerd, self._registry, snapshotter=SNAPSHOTTER)
        self.inventory = Inventory(self._containerd, self._images)
        self._creator = Creator(
            self._containerd,
            self._collector,
            host=facts,
            cgroup_parent=self._cgroup_parent,
            mount_points=self._mount_points,
            runc=self._runc,
        )

    async def close(self) -> None:
        """Let go of everything; containers run on."""
        await self._background.close()
        await self._containerd.close()
        await self._collector.close()
        self._registry.close()

    async def describe(self) -> RuntimeInfo:
        """What runs the containers; raises Unavailable where containerd does not run."""
        try:
            answer = await self._containerd.version()
        except DeadlineExceeded as error:
            raise Unavailable(f"containerd at {self._socket} hangs: {error.message}") from None
        return RuntimeInfo(name="containerd", version=answer)

    # ---- images ----

    async def pull(self, image: str, login: Login | None = None) -> None:
        """Have the image here; one that is pinned by digest and here is not fetched again.

        Raises NotFound where the registry does not have it, PermissionDenied, InvalidArgument,
        FailedPrecondition for another platform, and Unavailable where a later try may succeed.
        """
        await self._images.pull(image, login)

    async def image(self, image: str) -> Image:
        """The image as it is here; raises NotFound."""
        found = await self._images.get(image)
        if found is None:
            raise NotFound(f"image {image} is not on this node")
        return found

    async def has_image(self, image: str) -> bool:
        """Whether the image is here, so that it can run although its registry is away."""
        return await self._images.get(image) is not None

    async def healthcheck(self, image: str) -> Healthcheck | None:
        """The image's own health check."""
        return (await self.image(image)).config.healthcheck

    # ---- containers ----

    async def create(self, request: ContainerRequest) -> None:
        """Create the container; what is left of one of this id is replaced."""
        async with self._locks.hold(request.id):
            image = await self.image(request.container.image)
            await self._delete(request.id)
            try:
                await self._creator.create(request, image)
            except BaseException:
                with suppress(SwarmError):
                    await to_the_end(self._delete(request.id))
                raise

    async def start(self, container_id: str) -> int:
        """Start it; answers the pid. One that runs already is left as it is."""
        try:
            answer = await to_the_end(self._containerd.tasks.Start(container_id=container_id))
        except NotFound:
            raise
        except SwarmError as error:
            process = await self._process(container_id)
            if process is not None and process.status not in (_CREATED, _STOPPED):
                return int(process.pid)
            raise sentence(error, "the container cannot be started") from None
        return int(answer.pid)

    async def wait(self, container_id: str) -> ContainerExit:
        """Until it has ended, also long ago, through restarts of containerd.

        The code is 128 and the signal's number where a signal ended it.
        """
        while True:
            try:
                ended = await self._containerd.tasks.Wait(container_id=container_id)
                return self._ended(container_id, int(ended.exit_status))
            except Unavailable:
                await asyncio.sleep(RECONNECT_SECONDS)
            except NotFound:
                raise NotFound(f"container {container_id} is gone") from None
            except SwarmError as error:
                # Its shim died: containerd finds out, and the container dies with it.
                if await self._process(container_id) is None:
                    raise NotFound(f"container {container_id} is gone: {error.message}") from None
                await asyncio.sleep(RECONNECT_SECONDS)

    def _ended(self, container_id: str, code: int) -> ContainerExit:
        path = self._creator.cgroups_path(container_id)
        is_out = code != 0 and host.was_out_of_memory(path)
        return ContainerExit(exit_code=code, out_of_memory=is_out)

    async def kill(self, container_id: str, signal: str, everyone: bool = False) -> None:
        """Send a signal to the first process, or to `everyone`; empty is the stop signal that
        service or image ask for. Raises NotFound where nothing runs any more."""
        name = signal or await self._stop_signal(container_id)
        number = signal_number(name)
        await self._containerd.tasks.Kill(container_id=container_id, signal=number, all=everyone)

    async def delete(self, container_id: str) -> None:
        """Remove it, running or not; its logs stay. Nothing happens where it is gone."""
        async with self._locks.hold(container_id):
            await to_the_end(self._delete(container_id))

    async def list(self) -> Sequence[ContainerSeen]:
        """The containers that carry TASK_LABEL."""
        found = await self._containerd.containers.List(filters=[f'labels."{TASK_LABEL}"'])
        tasks = await self._containerd.tasks.List()
        processes = {each.id or each.container_id: each for each in tasks.tasks}
        return [_seen(each, processes.get(each.id)) for each in found.containers]

    async def execute(
        self, container_id: str, argv: Sequence[str], timeout_seconds: float
    ) -> tuple[int, bytes]:
        """Run a program in the container; answers exit code and the first 4096 bytes of output.
        Raises DeadlineExceeded, the program killed."""
        return await execute(self._containerd, self._fifos, container_id, argv, timeout_seconds)

    async def run(self, container_id: str, request: ProgramRequest) -> Program:
        """Run a program in the container and talk with it; the caller closes it."""
        return await run_program(self._containerd, self._programs, container_id, request)

    async def use(self, container_id: str) -> ContainerUse:
        """What the container uses; raises NotFound where it does not run."""
        pid = await self._pid(container_id)
        path = self._creator.cgroups_path(container_id)
        return await asyncio.to_thread(statistics.look, path, pid)

    async def change_files(
        self, container_id: str, changes: Sequence[FileChange]
    ) -> tuple[Path, ...]:
        """Have a container that runs see other files, each from one moment to the next; answers
        the earlier ones that it has mounted no more. Raises NotFound where it does not run."""
        if not changes:
            return ()
        try:
            done = await in_thread(exchange, await self._pid(container_id), changes)
        except OSError as error:
            raise Unavailable(
                f"cannot change the files of container {container_id}: {error}"
            ) from error
        for target in done.strange:
            log.warning(
                "container %s has something of its own at %s, which stays", container_id, target
            )
        return done.gone

    # ---- logs ----

    async def logs(
        self, container_id: str, *, follow: bool, tail: int, since: float, until: float = 0.0
    ) -> AsyncIterator[OutputLine | None]:
        """Its output, the last `tail` lines (-1: all), of times in [since, until] (0: without end).
        `follow`: one None where what follows is new, and then to the container's end."""
        if not self._collector.directory(container_id).is_dir():
            raise NotFound(f"container {container_id} has no logs")
        if self._collector.plan(container_id).driver == NONE:
            raise FailedPrecondition(
                "configured logging driver does not support reading: the service has --log-driver"
                " none"
            )
        lines = logreader.read(
            self._collector, container_id, follow=follow, last=tail, since=since, until=until
        )
        async with aclosing(lines):  # type: ignore[type-var]
            async for line in lines:
                yield line

    async def delete_logs(self, container_id: str) -> None:
        """Remove its logs."""
        directory = self._collector.directory(container_id)
        try:
            await in_thread(shutil.rmtree, directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable(f"cannot remove the logs at {directory}: {error}") from error

    # ---- parts ----

    async def _process(self, container_id: str) -> Any:
        """The container's process as containerd sees it; None where there is none."""
        try:
            return (await self._containerd.tasks.Get(container_id=container_id)).process
        except NotFound:
            return None

    async def _pid(self, container_id: str) -> int:
        process = await self._process(container_id)
        if process is None or process.status in (_CREATED, _STOPPED):
            raise NotFound(f"container {container_id} does not run")
        return int(process.pid)

    async def _stop_signal(self, container_id: str) -> str:
        record = (await self._containerd.containers.Get(id=container_id)).container
        return str(record.labels.get(STOP_SIGNAL_LABEL) or "SIGTERM")

    async def _delete(self, container_id: str) -> None:
        """Process, snapshot, FIFOs, and the record last: until then a crash can be repeated."""
        for attempt in range(1, DELETE_TRIES + 1):
            try:
                await self._delete_process(container_id)
                break
            except NotFound:
                break
            except Unavailable:
                raise
            except SwarmError as error:
                # A shim that just died: containerd cleans up after it in a moment.
                if attempt == DELETE_TRIES:
                    raise Unavailable(
                        f"container {container_id} does not end: {error.message}"
                    ) from None
                await asyncio.sleep(0.2 * attempt)
        await self._collector.finish(container_id)
        with suppress(NotFound):
            await self._containerd.snapshots.Remove(snapshotter=SNAPSHOTTER, key=container_id)
        with suppress(NotFound):
            await self._containerd.containers.Delete(id=container_id)

    async def _delete_process(self, container_id: str) -> None:
        process = await self._process(container_id)
        if process is None:
            return
        if process.status != _STOPPED:
            with suppress(NotFound):
                await self._containerd.tasks.Kill(
                    container_id=container_id, signal=SIGKILL, all=True
                )
            await self._containerd.tasks.Wait(
                timeout_seconds=KILL_SECONDS, container_id=container_id
            )
        await self._containerd.tasks.Delete(container_id=container_id)


def _seen(record: Any, process: Any) -> ContainerSeen:
    started = process is not None and process.status != _CREATED
    ended = process is not None and process.status == _STOPPED
    return ContainerSeen(
        id=record.id,
        labels=dict(record.labels),
        started=started,
        pid=int(process.pid) if started and not ended else 0,
        exit_code=int(process.exit_status) if ended else None,
    )
