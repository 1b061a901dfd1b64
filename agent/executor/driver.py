"""Performs the steps of this node's tasks on the runtime, the overlay and the files."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from agent import health
from agent.assignments import Assignments
from agent.endpoints.driver import NetworkKeeper
from agent.executor.containers import (
    TASK_LABEL,
    ContainerRequest,
    Containers,
    container_id,
    labels,
)
from agent.executor.ending import reason
from agent.generic import with_resources
from agent.hostfiles import hostname
from agent.mounts.driver import TaskFiles, volume_spec
from agent.overlay import Overlay
from agent.payload_templates import Contents, contents
from agent.reconcile import Seen
from agent.task_events import Exited
from pyswarm.aio import Backoff
from pyswarm.crashpoints import reach
from pyswarm.errors import DeadlineExceeded, NotFound, SwarmError
from pyswarm.model import (
    ContainerSpec,
    Healthcheck,
    HealthResult,
    Mount,
    MountType,
    NodeDescription,
    Task,
)
from pyswarm.registry.logins import Login, chosen
from pyswarm.templates.tasks import expand_container

log = logging.getLogger(__name__)

LOST_EXIT_CODE: Final = 137
"""Of a container that is gone without a word: as if it had been killed."""
STARTS_AT_ONCE: Final = 8
"""Containers that are made at the same time: more only compete for the disk."""


class Executor:
    """The steps of all tasks of one node; `node` describes it, for placeholders."""

    def __init__(
        self,
        *,
        containers: Containers,
        overlay: Overlay,
        files: TaskFiles,
        networks: NetworkKeeper,
        assignments: Assignments,
        node: Callable[[], NodeDescription],
    ) -> None:
        self._containers = containers
        self._overlay = overlay
        self._files = files
        self._networks = networks
        self._assignments = assignments
        self._node = node
        self._making = asyncio.Semaphore(STARTS_AT_ONCE)
        self._stopping: set[str] = set()
        """Tasks that end since we ask them to: nobody else connects to them, and they answer."""

    # ---- the steps ----

    async def prepare(self, task: Task) -> None:
        """Image, networks, files, container."""
        container = with_resources(expand_container(task, self._node()), task)
        await self._pull(task, container.image)
        reach("task.pulled")
        await self._networks.known([a.network_id for a in task.networks])
        async with self._making:
            namespace = await self._overlay.attach(
                task.id,
                task.networks,
                host_ports=task.ports,
                nameservers=container.dns_nameservers,
            )
            reach("task.attached")
            mounts = await self._prepare_files(task, container)
            reach("task.files-written")
            await self._containers.create(
                ContainerRequest(
                    id=container_id(task),
                    container=container,
                    limits=task.spec.resources.limits,
                    memory_swap=task.spec.resources.memory_swap,
                    mounts=mounts,
                    namespace=namespace,
                    hostname=hostname(container, task),
                    labels=labels(task),
                    log_driver=task.spec.log_driver,
                    log_options=task.spec.log_options,
                )
            )
            reach("task.created")

    async def _prepare_files(self, task: Task, container: ContainerSpec) -> tuple[Mount, ...]:
        known = {v.spec.name: v.spec for v in self._assignments.volumes.values()}
        for mount in container.mounts:
            if mount.type is MountType.VOLUME and mount.source:
                spec = volume_spec(mount, known)
                if spec.driver_options:
                    # Network storage may take its time to answer.
                    await asyncio.to_thread(self._files.volumes.use, task.id, spec)
        held = task.id in self._files.held() if container.secrets or container.configs else False
        files = self._contents(task, container, held=held)
        return self._files.prepare(
            task, container, files.secrets, files.configs, files.private, known
        )

    def _contents(self, task: Task, container: ContainerSpec, *, held: bool) -> Contents:
        known = self._assignments
        return contents(task, container, self._node(), known.secrets, known.configs, held=held)

    async def refresh(self, task: Task) -> None:
        """Show a container that runs the versions that its task refers to by now, and tell it."""
        container = expand_container(task, self._node())
        files = self._contents(task, container, held=False)
        signals = set()
        for reference in (*container.secrets, *container.configs):
            if reference.id not in self._files.shown(task.id):
                known = self._assignments
                payload = known.secrets.get(reference.id) or known.configs.get(reference.id)
                signals.add(reference.signal or (payload.signal if payload else ""))
        changes = self._files.refresh(task, container, files.secrets, files.configs, files.private)
        reach("task.files-rewritten")
        gone = await self._containers.change_files(container_id(task), changes)
        reach("task.files-replaced")
        for signal in sorted(signals - {""}):
            await self._containers.kill(container_id(task), signal)
        self._files.settle(task, gone)

    async def _pull(self, task: Task, image: str) -> None:
        found = chosen(image, task.service_id, self._assignments.credentials.values())
        login = Login(user=found.user, password=found.password) if found else None
        try:
            await self._containers.pull(image, login)
        except SwarmError as error:
            # A registry that is away, or has lost the image, must not stop what is here already.
            if not await self._containers.has_image(image):
                raise
            log.warning("%s is run as it is here, since %s", image, error.message)

    async def start(self, task: Task) -> Seen:
        """Start the container."""
        async with self._making:
            pid = await self._containers.start(container_id(task))
        reach("task.started")
        return Seen(container_id(task), task.id, True, pid)

    async def find(self, task: Task) -> Seen | None:
        """The task's container as it is now."""
        return next((seen for seen in await self.list() if seen.task_id == task.id), None)

    async def wait(self, task: Task) -> Exited:
        """Until the container has ended, however often the runtime is restarted meanwhile."""
        backoff = Backoff(0.1, 2.0)
        while True:
            try:
                ended = await self._containers.wait(container_id(task))
            except NotFound:
                exited = Exited(LOST_EXIT_CODE, "its container is gone")
                break
            except SwarmError as error:
                log.warning("task %s: cannot watch it: %s", task.name, error.message)
                await asyncio.sleep(backoff.next())
                continue
            limit = task.spec.resources.limits.memory_bytes
            exited = Exited(ended.exit_code, reason(ended, limit))
            break
        reach("task.ended")
        if task.id in self._stopping:
            await self._flush(task)
        await self._mark_dead(task)
        reach("task.marked-dead")
        return exited

    async def _flush(self, task: Task) -> None:
        try:
            await self._overlay.flush(task.id)
        except SwarmError as error:
            log.warning("task %s: its last answers may be lost: %s", task.name, error.message)

    async def _mark_dead(self, task: Task) -> None:
        try:
            await self._overlay.mark_dead(task.id)
        except SwarmError as error:
            log.warning("task %s: still in its addresses: %s", task.name, error.message)

    async def drain(self, task: Task) -> None:
        """Close the task's ports on this host; who is connected stays so."""
        await self._overlay.close_ports(task.id)

    async def stop(self, task: Task, signal: str) -> None:
        """Send the stop signal; one that is gone already needs none."""
        self._stopping.add(task.id)
        try:
            await self._containers.kill(container_id(task), signal)
        except NotFound:
            return
        reach("task.signalled")

    async def kill(self, task: Task) -> None:
        """Send SIGKILL."""
        await self.stop(task, "SIGKILL")

    async def clean(self, task: Task) -> None:
        """Container first: it holds the namespace and the mounts."""
        self._stopping.discard(task.id)
        await self._containers.delete(container_id(task))
        reach("task.deleted")
        await self._overlay.detach(task.id)
        reach("task.detached")
        self._files.remove(task.id)
        reach("task.cleaned")

    async def remove(self, task: Task) -> None:
        """The logs too."""
        await self._containers.delete_logs(container_id(task))
        self._files.forget(task.id)
        reach("task.logs-removed")

    # ---- health ----

    async def healthcheck(self, task: Task) -> Healthcheck | None:
        """The service's health check over the image's."""
        container = task.spec.container
        try:
            of_image = await self._containers.healthcheck(container.image)
        except NotFound:
            # Of an adopted container whose image was removed: it runs on without.
            of_image = None
        return health.merged(container.healthcheck, of_image)

    async def probe(self, task: Task, probe: health.Probe) -> HealthResult:
        """Run the check once; whatever goes wrong is a failure of it."""
        started_at = time.time()
        try:
            code, output = await self._containers.execute(
                container_id(task), probe.argv, probe.timeout_seconds
            )
            text = output.decode(errors="replace")
        except DeadlineExceeded:
            code, text = -1, f"Health check exceeded timeout ({probe.timeout_seconds:g}s)"
        except SwarmError as error:
            code, text = -1, error.message
        return HealthResult(
            started_at=started_at, ended_at=time.time(), exit_code=code, output=text
        )

    # ---- what is there ----

    async def list(self) -> list[Seen]:
        """Every container that carries our label."""
        return [
            Seen(c.id, c.labels[TASK_LABEL], c.started, c.pid, c.exit_code)
            for c in await self._containers.list()
        ]

    async def discard(self, seen: Seen, logs: bool) -> None:
        """Remove a stray container and its place in the networks."""
        await self._containers.delete(seen.container_id)
        await self._overlay.detach(seen.task_id)
        if logs:
            await self._containers.delete_logs(seen.container_id)
