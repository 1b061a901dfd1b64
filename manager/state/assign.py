"""Many tasks that are given their nodes in one change: the scheduler's.

    body = time f64, status u16 + bytes, "TASK NODE TASK NODE ..."

It is one change and not one for each task, since all that differs is two ids: a thousand of them
are written, read and applied in one go. The scheduler places tens of thousands of tasks a second,
and no other part comes near that.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyswarm.model import Meta, Task, TaskState, TaskStatus
from pyswarm.wire.codec import decode, encode
from pyswarm.wire.remake import maker, remaker

UNCOMMITTED: Final = -1
"""The version of a record that was changed by a proposal in flight."""

STATUSES_MAX: Final = 64
"""Statuses whose bytes are remembered: tasks that are moved on together have equal ones."""

_HEAD: Final = struct.Struct(">dH")
_meta: Final = maker(Meta)
_assigned: Final = remaker(Task, "meta", "node_id", "status")


Read = Callable[[str], Task | None]
"""Task id -> the task."""


@dataclass(frozen=True, slots=True)
class Assign:
    """Tasks that waited, now with a node each; each is there once, and so is what it was in `olds`.
    `body` is what they were read from, so that they are what every manager will read."""

    body: bytes
    tasks: tuple[Task, ...]
    olds: tuple[Task, ...]


def assign(read: Read, now: float, status: TaskStatus, nodes: Mapping[str, str]) -> Assign:
    """Each of the tasks on its node, task id -> node id; those that wait for no node, or for
    another, are left out."""
    head = _HEAD.pack(now, len(status_bytes(status))) + status_bytes(status)

    def change(chosen: Iterable[tuple[str, str]]) -> Assign:
        return read_assign(head + " ".join(map(" ".join, chosen)).encode(), read)

    try:
        return change(nodes.items())
    except ValueError:
        # Seldom: one of them has changed its mind.
        return change([(task, node) for task, node in nodes.items() if _waits(read(task), node)])


def _waits(task: Task | None, node_id: str) -> bool:
    return (
        task is not None
        and task.status.state == TaskState.PENDING
        and (not task.node_id or task.node_id == node_id)
    )


def read_assign(body: bytes, read: Read) -> Assign:
    """The change in `body`; raises struct.error or ValueError where there is none, or not of these
    tasks."""
    now, length = _HEAD.unpack_from(body)
    end = _HEAD.size + length
    status, words = status_of(body[_HEAD.size : end]), body[end:].decode().split()
    made, olds = [], []
    meta, pending = _meta(UNCOMMITTED, -1.0, now), TaskState.PENDING
    for task_id, node_id in zip(words[::2], map(sys.intern, words[1::2]), strict=True):
        old = read(task_id)
        if old is None or old.status.state is not pending or old.node_id not in ("", node_id):
            raise ValueError(f"task {task_id} is given a node and does not wait for one")
        if meta.created_at != old.meta.created_at:
            # Tasks that were made together have one.
            meta = _meta(UNCOMMITTED, old.meta.created_at, now)
        made.append(_assigned(old, meta, node_id, status))
        olds.append(old)
    return Assign(body, tuple(made), tuple(olds))


def ids_of(change: Assign) -> list[str]:
    """The ids of the tasks."""
    return [task.id for task in change.tasks]


@lru_cache(STATUSES_MAX)
def status_bytes(status: TaskStatus) -> bytes:
    """A status as bytes."""
    return encode(status)


@lru_cache(STATUSES_MAX)
def status_of(data: bytes) -> TaskStatus:
    """The status back; its message is one object for all that have it."""
    found = decode(TaskStatus, data)
    return _with_message(found, sys.intern(found.message))  # type: ignore[no-any-return]


_with_message: Final = remaker(TaskStatus, "message")
