"""Which images go: by age, by disk use, on demand. Pure.

An image that a task needs is never among them, and one that was needed a moment ago is not either,
unless somebody asks for it: a rollback goes back to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.images.store import Disk, ImageSeen, Needs
from pyswarm.model import ImagePolicy


@dataclass(frozen=True, slots=True)
class Removal:
    """An image that goes, and why, for the log."""

    image: ImageSeen
    reason: str


def collect(
    images: Sequence[ImageSeen], needed: Needs, policy: ImagePolicy, disk: Disk, now: float
) -> tuple[Removal, ...]:
    """What goes now, the longest unused first."""
    candidates = [
        image
        for image in sorted(images, key=lambda i: (i.used_at, i.name))
        # A clock that was set back makes an age negative: then nobody knows it, and it stays.
        if not needed.cover(image) and now - image.used_at >= policy.grace_seconds
    ]
    removals = [
        Removal(image, f"not used for {now - image.used_at:.0f} s")
        for image in candidates
        if policy.max_age_seconds and now - image.used_at >= policy.max_age_seconds
    ]
    gone = {removal.image.name for removal in removals}
    used = disk.used_bytes - freed_bytes(images, gone)
    total = disk.total_bytes
    if not total or not policy.disk_high_percent or used * 100 < policy.disk_high_percent * total:
        return tuple(removals)
    for image in candidates:
        if used * 100 <= policy.disk_low_percent * total:
            break
        if image.name not in gone:
            gone.add(image.name)
            removals.append(Removal(image, f"the disk is {used * 100 // total}% full"))
            used = disk.used_bytes - freed_bytes(images, gone)
    return tuple(removals)


def prunable(
    images: Sequence[ImageSeen], needed: Needs, *, everything: bool, until: float
) -> tuple[ImageSeen, ...]:
    """What `system prune` takes: images without a tag, with `everything` those with one too;
    `until` other than 0 takes only what came before."""
    return tuple(
        image
        for image in sorted(images, key=lambda i: i.name)
        if not needed.cover(image)
        and (everything or "@" in image.name)
        and (not until or image.created_at < until)
    )


def freed_bytes(images: Iterable[ImageSeen], gone: Iterable[str]) -> int:
    """What the disk gets back when the images named go: a part that others have stays."""
    names = set(gone)
    left = {part for image in images if image.name not in names for part in image.parts}
    lost = {
        part: size
        for image in images
        if image.name in names
        for part, size in image.parts.items()
        if part not in left
    }
    return sum(lost.values())


def total_bytes(images: Iterable[ImageSeen]) -> int:
    """What the images take together, each shared part once."""
    return sum({part: size for image in images for part, size in image.parts.items()}.values())


def unique_bytes(images: Sequence[ImageSeen]) -> dict[str, int]:
    """What each image has for itself alone, by name."""
    holders = Counter(part for image in images for part in image.parts)
    return {
        image.name: sum(size for part, size in image.parts.items() if holders[part] == 1)
        for image in images
    }
