"""What the keeper of images needs of a runtime, and which images are needed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pyswarm.errors import InvalidArgument
from pyswarm.registry.reference import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSeen:
    """An image of this node. `parts` are its blobs and layers with their bytes on the disk, by a
    name that images share when they share the part. Times are seconds since the epoch."""

    name: str
    digest: str
    parts: Mapping[str, int] = field(default_factory=dict)
    created_at: float = 0.0
    used_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDisk:
    """A container and what it has written; `image` as its service names it."""

    id: str
    name: str
    image: str
    created_at: float
    running: bool
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system that has the images; `total_bytes` 0 where it is not known."""

    total_bytes: int = 0
    used_bytes: int = 0


class ImageStore(Protocol):
    """The images of the swarm on this node, nobody else's. Every call raises SwarmError."""

    async def images(self) -> Sequence[ImageSeen]:
        """All of them."""
        ...

    async def container_disks(self, *, measured: bool) -> Sequence[ContainerDisk]:
        """Every container that carries TASK_LABEL; their sizes only where they are `measured`,
        since that reads through all that they wrote."""
        ...

    async def mark_used(self, name: str, now: float) -> None:
        """Remember when an image was last needed."""

    async def remove_image(self, image: ImageSeen, still: Callable[[], bool], last: bool) -> bool:
        """Remove an image unless `still` says no at the last moment, when no pull can begin any
        more; with `last` it returns when the disk space is free. Whether it was removed."""
        ...

    async def disk(self) -> Disk:
        """How full the disk is."""
        ...


@dataclass(frozen=True, slots=True)
class Needs:
    """Images that are needed, by full name and by digest."""

    names: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()

    def cover(self, image: ImageSeen) -> bool:
        """Whether this image is needed."""
        return image.name in self.names or image.digest in self.digests


def needs(references: Iterable[str]) -> Needs:
    """What these references, as services name them, need; a wrong one needs nothing."""
    names, digests = set(), set()
    for text in references:
        try:
            reference = parse(text)
        except InvalidArgument:
            continue
        names.add(str(reference))
        digests.add(reference.digest)
    return Needs(frozenset(names), frozenset(digests - {""}))
