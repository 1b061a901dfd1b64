"""What lies in our namespace of containerd, and what it takes: `agent.images.store.ImageStore`.

An image is the sum of its blobs and of the layers that were unpacked from them. Both never change
under their digests, so their sizes are asked for once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from agent.executor.containers import TASK_LABEL
from agent.images.store import ContainerDisk, Disk, ImageSeen
from agent.runtime.client import Containerd
from agent.runtime.images import USED_LABEL, Images
from pyswarm.errors import NotFound, SwarmError, Unavailable

NAME_LABEL: Final = "com.docker.swarm.task.name"
_RUNNING: Final = 2  # containerd.v1.types.Status


class Inventory:
    """Images and containers of one namespace."""

    def __init__(self, containerd: Containerd, images: Images) -> None:
        self._containerd = containerd
        self._images = images
        self._snapshotter = images.snapshotter
        self._layers: dict[str, int] = {}
        self._parts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._root = ""

    async def images(self) -> Sequence[ImageSeen]:
        """Every image, those that are damaged too."""
        records = (await self._containerd.images.List()).images
        blobs: dict[str, int] = {}
        async for page in self._containerd.content.List():
            blobs |= {each.digest: int(each.size) for each in page.info}
        digests = {record.target.digest for record in records}
        self._parts = {key: parts for key, parts in self._parts.items() if key in digests}
        found = []
        for record in records:
            digest = str(record.target.digest)
            names, layers = await self._parts_of(digest)
            parts = {name: blobs[name] for name in names if name in blobs}
            parts |= {f"layer {each}": await self._layer_bytes(each) for each in layers}
            created_at = record.created_at.seconds + record.created_at.nanos / 1e9
            found.append(
                ImageSeen(
                    name=str(record.name),
                    digest=digest,
                    parts=parts,
                    created_at=created_at,
                    used_at=_time(record.labels.get(USED_LABEL, ""), created_at),
                )
            )
        known = {each for _, layers in self._parts.values() for each in layers}
        self._layers = {key: size for key, size in self._layers.items() if key in known}
        return found

    async def _parts_of(self, digest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The digests of its blobs, and the names of its layers."""
        known = self._parts.get(digest)
        if known is not None:
            return known
        try:
            parts = await self._images.parts(digest)
        except Unavailable:
            raise
        except SwarmError:
            return (digest,), ()  # it is damaged, or another program's half-finished pull
        self._parts[digest] = parts
        return parts

    async def _layer_bytes(self, name: str) -> int:
        if name not in self._layers:
            self._layers[name] = await self._snapshot_bytes(name)
        return self._layers[name]

    async def _snapshot_bytes(self, name: str) -> int:
        try:
            usage = await self._containerd.snapshots.Usage(snapshotter=self._snapshotter, key=name)
        except NotFound:
            return 0
        return int(usage.size)

    async def container_disks(self, *, measured: bool) -> Sequence[ContainerDisk]:
        """Every container that carries TASK_LABEL, `measured` with what its own layer takes."""
        filters = [f'labels."{TASK_LABEL}"']
        records = (await self._containerd.containers.List(filters=filters)).containers
        tasks = (await self._containerd.tasks.List()).tasks
        running = {each.id or each.container_id for each in tasks if each.status == _RUNNING}
        return [await self._container(record, record.id in running, measured) for record in records]

    async def _container(self, record: Any, running: bool, measured: bool) -> ContainerDisk:
        return ContainerDisk(
            id=str(record.id),
            name=str(record.labels.get(NAME_LABEL, record.id)),
            image=str(record.image),
            created_at=float(record.created_at.seconds),
            running=running,
            size_bytes=await self._snapshot_bytes(record.snapshot_key) if measured else 0,
        )

    async def mark_used(self, name: str, now: float) -> None:
        """In a label of the image; nothing happens where it is gone."""
        await self._images.mark_used(name, now)

    async def remove_image(self, image: ImageSeen, still: Callable[[], bool], last: bool) -> bool:
        """See `ImageStore`; containerd collects what nothing else refers to."""
        return await self._images.remove(image.name, image.digest, still, last)

    async def disk(self) -> Disk:
        """The file system that the snapshotter uses."""
        if not self._root:
            answer = await self._containerd.introspection.Plugins(
                filters=[f"id=={self._snapshotter}"]
            )
            self._root = _root_of(answer.plugins)
        try:
            status = os.statvfs(self._root)
        except OSError:
            return Disk()
        total = status.f_blocks * status.f_frsize
        # What root alone may still use counts as used: others are in trouble by then.
        return Disk(total_bytes=total, used_bytes=total - status.f_bavail * status.f_frsize)


def _root_of(plugins: Iterable[Any]) -> str:
    roots = (each.exports.get("root", "") for each in plugins)
    return next((root for root in roots if root), "")


def _time(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise
