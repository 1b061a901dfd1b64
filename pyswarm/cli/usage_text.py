"""The words of `system df` and `system prune`, in Docker's forms. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pyswarm.cli.render import Listing, Row, ago, short_id, table
from pyswarm.compose.values import duration_seconds
from pyswarm.errors import InvalidArgument
from pyswarm.registry.reference import DEFAULT_DOMAIN

TYPES: Final = ("Images", "Containers", "Local Volumes", "Build Cache")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def decimal_size(size_bytes: int) -> str:
    """Four digits and a unit of a thousand: "1.024kB" (go-units' HumanSize)."""
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.4g}{_UNITS[unit]}"


class _Line:
    """One type on one node or on all: counts and bytes."""

    def __init__(self, total: int = 0, active: int = 0, size: int = 0, free: int = 0) -> None:
        self.total, self.active, self.size, self.free = total, active, size, free

    def add(self, other: _Line) -> None:
        self.total += other.total
        self.active += other.active
        self.size += other.size
        self.free += other.free

    @property
    def reclaimable(self) -> str:
        part = f" ({self.free * 100 // self.size}%)" if self.size else ""
        return f"{decimal_size(self.free)}{part}"


def _lines(usage: Any) -> list[_Line]:
    """A node's line for each of TYPES."""
    idle = [each for each in usage.containers if not each.running]
    loose = [each for each in usage.volumes if not each.links]
    return [
        _Line(
            len(usage.images),
            sum(1 for each in usage.images if each.containers),
            usage.images_bytes,
            usage.images_reclaimable_bytes,
        ),
        _Line(
            len(usage.containers),
            len(usage.containers) - len(idle),
            sum(each.size_bytes for each in usage.containers),
            sum(each.size_bytes for each in idle),
        ),
        _Line(
            len(usage.volumes),
            len(usage.volumes) - len(loose),
            sum(each.size_bytes for each in usage.volumes),
            sum(each.size_bytes for each in loose),
        ),
        _Line(),  # the swarm builds nothing
    ]


def summary(found: Sequence[Any], form: str) -> str:
    """The sum of all nodes in Docker's columns, and below it each node for itself."""
    sums = [_Line() for _ in TYPES]
    for usage in found:
        for line, more in zip(sums, _lines(usage), strict=True):
            line.add(more)
    headers = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
    whole = Listing(headers, tuple(map(_row, TYPES, sums)))
    nodes = tuple(
        _row(kind, line, usage.hostname)
        for usage in found
        for kind, line in zip(TYPES, _lines(usage), strict=True)
        if line.total
    )
    if form == "json" or not nodes:
        return Listing(headers, (*whole.rows, *nodes)).text(form)
    return f"{whole.text()}\n\n{Listing(('NODE', *headers), nodes).text()}"


def _row(kind: str, line: _Line, node: str = "") -> Row:
    values = {
        "Type": kind,
        "TotalCount": str(line.total),
        "Active": str(line.active),
        "Size": decimal_size(line.size),
        "Reclaimable": line.reclaimable,
    }
    cells = tuple(values.values())
    if node:
        return Row(kind, (node, *cells), {"Node": node, **values})
    return Row(kind, cells, values)


def details(found: Sequence[Any], now: float) -> str:
    """`system df -v`: every image, container and volume with its node."""
    images = [_image(usage.hostname, each, now) for usage in found for each in usage.images]
    containers = [
        _container(usage.hostname, each, now) for usage in found for each in usage.containers
    ]
    volumes = [
        (usage.hostname, each.name, str(each.links), decimal_size(each.size_bytes))
        for usage in found
        for each in usage.volumes
    ]
    image_headers = (
        *("NODE", "REPOSITORY", "TAG", "IMAGE ID", "CREATED"),
        *("SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"),
    )
    container_headers = (
        *("NODE", "CONTAINER ID", "IMAGE", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"),
    )
    return (
        f"Images space usage:\n\n{table(image_headers, images)}\n\n"
        f"Containers space usage:\n\n{table(container_headers, containers)}\n\n"
        "Local Volumes space usage:\n\n"
        f"{table(('NODE', 'VOLUME NAME', 'LINKS', 'SIZE'), volumes)}\n\n"
        "Build cache usage: 0B"
    )


def familiar(name: str) -> tuple[str, str]:
    """Repository and tag of a full name, without what Docker leaves out."""
    repository, _, _ = name.partition("@")
    tag = "<none>"
    if "@" not in name:
        repository, _, tag = name.rpartition(":")
    short = repository.removeprefix(f"{DEFAULT_DOMAIN}/").removeprefix("library/")
    return short, tag


def _image(node: str, image: Any, now: float) -> tuple[str, ...]:
    return (
        node,
        *familiar(image.name),
        short_id(image.digest.removeprefix("sha256:")),
        ago(image.created_at, now),
        decimal_size(image.size_bytes),
        decimal_size(image.size_bytes - image.unique_bytes),
        decimal_size(image.unique_bytes),
        str(image.containers),
    )


def _container(node: str, each: Any, now: float) -> tuple[str, ...]:
    return (
        node,
        short_id(each.id),
        each.image.partition("@")[0],
        str(each.volumes),
        decimal_size(each.size_bytes),
        ago(each.created_at, now),
        "Up" if each.running else "Exited",
        each.name,
    )


def until_of(filters: Iterable[str], now: float) -> float:
    """The time that `until=` names, in seconds since the epoch; 0 without one."""
    until = 0.0
    for text in filters:
        key, _, value = text.partition("=")
        if key != "until":
            raise InvalidArgument(f"invalid filter '{key}', use until")
        until = _moment(value, now)
    return until


def _moment(text: str, now: float) -> float:
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        return now - duration_seconds(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            f"until={text}: use a duration such as 24h, or a time such as 2026-01-31T12:00:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def warning(everything: bool, volumes: bool, filters: Sequence[str]) -> str:
    """What is about to go, and the question."""
    kinds = ["all stopped containers", "all networks not used by at least one container"]
    if volumes:
        kinds.append("all anonymous volumes not used by at least one container")
    images = "all images without at least one container associated to them"
    kinds.append(images if everything else "all dangling images")
    listed = "".join(f"  - {kind}\n" for kind in kinds)
    kept = ""
    if filters:
        kept = "\n  Items to be pruned will be filtered with:\n" + "".join(
            f"  - {text}\n" for text in filters
        )
    return (
        f"WARNING! This will remove, on all nodes:\n{listed}{kept}\n"
        "Are you sure you want to continue? [y/N] "
    )


def pruned(found: Sequence[Any]) -> str:
    """What went, by kind and node, and the sum."""
    sections = []
    for title, field in (
        ("Containers", "containers"),
        ("Networks", "networks"),
        ("Volumes", "volumes"),
        ("Images", "images"),
    ):
        lines = [
            f"{name} ({each.hostname})" if each.hostname else name
            for each in found
            for name in getattr(each, field)
        ]
        if lines:
            sections.append("\n".join((f"Deleted {title}:", *lines)) + "\n")
    total = sum(each.reclaimed_bytes for each in found)
    return "\n".join((*sections, f"Total reclaimed space: {decimal_size(total)}"))
