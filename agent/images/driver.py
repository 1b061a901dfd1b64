"""Keeps the node's images: removes what nothing needs, tells what they take, prunes on demand."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from agent.images import collect
from agent.images.disk import VolumeFolders
from agent.images.store import ContainerDisk, ImageSeen, ImageStore, Needs, needs
from pyswarm.api.v1 import dispatcher_pb2, system_pb2
from pyswarm.errors import SwarmError
from pyswarm.model import ImagePolicy, MountType, Task, is_terminal

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
STAMP_SECONDS: Final = 300.0
"""How old the mark of a needed image may be: it matters after a restart of the daemon alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperContext:
    """What the keeper is given beside the images: the tasks assigned, and how to remove a container
    that belongs to none of them."""

    tasks: Callable[[], Mapping[str, Task]]
    informed: Callable[[], bool]
    """Whether a manager has said which tasks are assigned: after a restart they come later."""
    discard: Callable[[str], Awaitable[None]]


class ImageKeeper:
    """Works while `run` runs, from the first policy on that the managers send."""

    def __init__(self, store: ImageStore, volumes: VolumeFolders, context: KeeperContext) -> None:
        self._store = store
        self._volumes = volumes
        self._context = context
        self._policy: ImagePolicy | None = None
        self._news = asyncio.Event()
        self._used: dict[str, float] = {}
        self._busy = asyncio.Lock()

    def set_policy(self, policy: ImagePolicy) -> None:
        """Take the cluster's settings; new ones count at once."""
        if policy != self._policy:
            self._policy = policy
            self._news.set()

    async def run(self) -> None:
        """Look each minute, and when the settings change."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            try:
                async with self._busy:
                    await self._collect()
            except SwarmError as error:
                log.warning("images are not looked through now: %s", error.message)

    async def _collect(self) -> None:
        if self._policy is None or not self._context.informed():
            return
        images, needed = await self._seen()
        now = time.time()
        plan = collect.collect(images, needed, self._policy, await self._store.disk(), now)
        gone = await self._remove([removal.image for removal in plan])
        for removal in plan:
            if removal.image.name in gone:
                log.info("image %s removed: %s", removal.image.name, removal.reason)

    async def _seen(self) -> tuple[list[ImageSeen], Needs]:
        """Every image with the time at which it was last needed, and what is needed now."""
        containers = await self._store.container_disks(measured=False)
        images = await self._store.images()
        # Last, without a wait before it is used: what was assigned meanwhile counts.
        needed = self._needs(containers)
        now, found = time.time(), []
        self._used = {each.name: self._used.get(each.name, 0.0) for each in images}
        for image in images:
            if needed.cover(image):
                self._used[image.name] = now
                if now - image.used_at > STAMP_SECONDS:
                    await self._store.mark_used(image.name, now)
            used_at = max(image.used_at, self._used[image.name])
            found.append(replace(image, used_at=used_at))
        return found, needed

    def _needs(self, containers: Sequence[ContainerDisk] = ()) -> Needs:
        wanted = [
            task.spec.container.image
            for task in self._context.tasks().values()
            if not is_terminal(task.status.state)
        ]
        return needs([*wanted, *(each.image for each in containers)])

    async def _remove(self, images: Sequence[ImageSeen]) -> set[str]:
        gone = set()
        for image in images:
            still = partial(self._is_free, image)
            if await self._store.remove_image(image, still, image is images[-1]):
                gone.add(image.name)
        return gone

    def _is_free(self, image: ImageSeen) -> bool:
        return not self._needs().cover(image)

    # ---- what the managers ask ----

    async def disk_usage(self, question: system_pb2.DiskUsageRequest) -> dispatcher_pb2.NodeAnswer:
        """What images, containers and volumes take."""
        async with self._busy:
            containers = await self._store.container_disks(measured=True)
            images, _ = await self._seen()
            named, anonymous = await asyncio.to_thread(
                lambda: (self._volumes.named(), self._volumes.anonymous())
            )
        usage = system_pb2.NodeUsage(images_bytes=collect.total_bytes(images))
        unique, active = collect.unique_bytes(images), []
        for image in images:
            users = [each for each in containers if needs([each.image]).cover(image)]
            active += [image] if users else []
            usage.images.add(
                name=image.name,
                digest=image.digest,
                created_at=image.created_at,
                used_at=image.used_at,
                size_bytes=sum(image.parts.values()),
                unique_bytes=unique[image.name],
                containers=len(users),
            )
        usage.images_reclaimable_bytes = usage.images_bytes - collect.total_bytes(active)
        tasks = self._context.tasks()
        for each in containers:
            usage.containers.add(
                id=each.id,
                name=each.name,
                image=each.image,
                created_at=each.created_at,
                running=each.running,
                size_bytes=each.size_bytes,
                volumes=len(_volumes(tasks[each.id])) if each.id in tasks else 0,
            )
        links = [
            name
            for task in tasks.values()
            if not is_terminal(task.status.state)
            for name in _volumes(task)
        ]
        for name, size in named.items():
            usage.volumes.add(name=name, size_bytes=size, links=links.count(name))
        for task_id, size in anonymous.items():
            usage.volumes.add(name=task_id, size_bytes=size, links=int(task_id in tasks))
        return dispatcher_pb2.NodeAnswer(disk_usage=usage)

    async def prune(self, question: system_pb2.PruneRequest) -> dispatcher_pb2.NodeAnswer:
        """Remove what nothing needs: strays among the containers, images, anonymous volumes."""
        pruned = system_pb2.Pruned()
        async with self._busy:
            await self._prune_containers(question.until, pruned)
            images, needed = await self._seen()
            chosen = collect.prunable(images, needed, everything=question.all, until=question.until)
            gone = await self._remove(chosen)
            pruned.images.extend(sorted(gone))
            pruned.reclaimed_bytes += collect.freed_bytes(images, gone)
            if question.volumes:
                removed = await asyncio.to_thread(
                    self._volumes.remove_anonymous, set(self._context.tasks()), question.until
                )
                pruned.volumes.extend(sorted(removed))
                pruned.reclaimed_bytes += sum(removed.values())
        return dispatcher_pb2.NodeAnswer(prune=pruned)

    async def _prune_containers(self, until: float, pruned: system_pb2.Pruned) -> None:
        for each in await self._store.container_disks(measured=True):
            if each.id in self._context.tasks() or (until and each.created_at >= until):
                continue
            await self._context.discard(each.id)
            pruned.containers.append(each.id)
            pruned.reclaimed_bytes += each.size_bytes


def _volumes(task: Task) -> list[str]:
    """The names of the volumes that a task mounts; an empty one for each without a name."""
    mounts = task.spec.container.mounts
    return [mount.source for mount in mounts if mount.type is MountType.VOLUME]
