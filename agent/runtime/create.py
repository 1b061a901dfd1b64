"""Makes a container: record, snapshot, what its root file system must have, output, process.

The record comes first. containerd's garbage collection starts from it, so the snapshot is never
without an owner; and what was made only in part is found by its label after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent.executor.containers import ContainerRequest
from agent.runtime import command, schema, spec, users
from agent.runtime.client import Containerd
from agent.runtime.collector import Collector
from agent.runtime.facts import HostFacts
from agent.runtime.failures import sentence
from agent.runtime.images import Image
from agent.runtime.locks import KeyedLocks, in_thread, to_the_end
from agent.runtime.logplan import log_plan
from agent.runtime.rootfs import CopyUp, MountStep, mounted
from agent.runtime.users import Identity
from pyswarm.errors import InvalidArgument, NotFound, SwarmError, Unavailable
from pyswarm.model import MountType

SNAPSHOTTER: Final = "overlayfs"
RUNTIME_NAME: Final = "io.containerd.runc.v2"
STOP_SIGNAL_LABEL: Final = "pyswarm.stop-signal"
CREATE_SECONDS: Final = 120.0


class Creator:
    """Makes containers; `mount_points` and `runc` are directories of this daemon alone."""

    def __init__(
        self,
        containerd: Containerd,
        collector: Collector,
        *,
        host: HostFacts,
        cgroup_parent: str,
        mount_points: Path,
        runc: Path,
    ) -> None:
        self._containerd = containerd
        self._collector = collector
        self._host = host
        self._cgroup_parent = cgroup_parent
        self._mount_points = mount_points
        # runc's own default directory is shared by every containerd of the machine, and with it
        # the ids; a lab has many.
        self._options = schema.pack(schema.runc.Options(root=str(runc)))
        self._volumes = KeyedLocks()

    def cgroups_path(self, container_id: str) -> str:
        """The container's cgroup, in every hierarchy."""
        return f"{self._cgroup_parent.rstrip('/')}/{container_id}"

    async def create(self, request: ContainerRequest, image: Image) -> None:
        """Everything up to the process that waits for its start; raises SwarmError, and leaves
        what was made to the caller."""
        plan = log_plan(request, image.config)
        stop_signal = command.stop_signal(request.container, image.config)
        record = schema.containers.Container(
            id=request.id,
            labels={**request.labels, STOP_SIGNAL_LABEL: stop_signal},
            image=request.container.image,
            runtime=schema.containers.Runtime(name=RUNTIME_NAME, options=self._options),
            snapshotter=SNAPSHOTTER,
            snapshot_key=request.id,
            spec=schema.pack_json("Spec", {}),
        )
        await self._containerd.containers.Create(container=record)
        mounts = await self._snapshot(request, image)
        identity = await self._prepare_root(request, image, mounts)
        program = spec.program(request, image.config, identity)
        path = self.cgroups_path(request.id)
        record.spec.CopyFrom(
            schema.pack_json("Spec", spec.build(request, program, self._host, path))
        )
        await self._containerd.containers.Update(container=record, update_mask={"paths": ["spec"]})
        terminal = request.container.tty
        try:
            stdout, stderr = self._collector.open(request.id, plan, terminal)
        except OSError as error:
            raise Unavailable(f"cannot keep the output of a container: {error}") from error
        # Not to be cancelled: containerd would lose what runc has made by then.
        try:
            await to_the_end(
                self._containerd.tasks.Create(
                    timeout_seconds=CREATE_SECONDS,
                    container_id=request.id,
                    rootfs=mounts,
                    stdout=stdout,
                    stderr=stderr,
                    terminal=terminal,
                    options=self._options,
                )
            )
        except SwarmError as error:
            raise sentence(error, "the container cannot be created") from None

    async def _snapshot(self, request: ContainerRequest, image: Image) -> Sequence[Any]:
        try:
            prepared = await self._containerd.snapshots.Prepare(
                snapshotter=SNAPSHOTTER,
                key=request.id,
                parent=image.chain_id,
            )
        except NotFound:
            raise NotFound(
                f"the files of image {image.name} are not on this node any more: remove the"
                " image, and pull it again"
            ) from None
        found: Sequence[Any] = prepared.mounts
        return found

    async def _prepare_root(
        self, request: ContainerRequest, image: Image, mounts: Sequence[Any]
    ) -> Identity:
        """Look up the user; make the working directory; fill new volumes."""
        steps = [MountStep(each.type, each.source, tuple(each.options)) for each in mounts]
        workdir = command.working_directory(request.container, image.config)
        copies = _copies(request)

        def work() -> Identity:
            with mounted(steps, self._mount_points / request.id) as root:
                identity = users.resolve(
                    request.container.user or image.config.user,
                    request.container.groups,
                    root.read_text("/etc/passwd"),
                    root.read_text("/etc/group"),
                )
                root.make_directory(workdir, identity.uid, identity.gid)
                for copy in copies:
                    root.copy_up(copy)
                return identity

        try:
            if not copies:
                return await in_thread(work)
            # Two tasks that share a new volume must not fill it at the same time.
            async with self._volumes.hold("volumes"):
                return await in_thread(work)
        except OSError as error:
            raise InvalidArgument(
                f"image {request.container.image} cannot be prepared: {error}"
            ) from error


def _copies(request: ContainerRequest) -> list[CopyUp]:
    """The volumes among the mounts: by now they are binds of directories of this node."""
    wanted = {
        mount.target
        for mount in request.container.mounts
        if mount.type is MountType.VOLUME and not mount.no_copy
    }
    return [
        CopyUp(mount.target, Path(mount.source))
        for mount in request.mounts
        if mount.target in wanted and mount.type is MountType.BIND
    ]
