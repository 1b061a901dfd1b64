"""Change sets: what one transaction did, and how the log carries it.

A change set travels as a chain header and frames. The header (`epoch`, `sequence`, `base`) ties it
to the state on which it was computed: a leader computes the next transaction before the last one
is committed, so if one entry of the chain is lost, those after it must not count either. Every
manager checks the chain in the same way (`follows`), so all of them refuse the same entries.

    set    = epoch u64, sequence u64, base u64, frame*            big endian
    frame  = action u8, kind u8, length u32, body
    body   = DELETE: id | PUT: record | PUT_TASK: record without its spec, which is its service's
             | ASSIGN: see manager.state.assign
             | TASK_UPDATE: mask, desired state, time, id, and those of five fields that changed

A task changes its status many times and its large spec never: hence the last three.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from manager.state.assign import (
    UNCOMMITTED,
    Assign,
    read_assign,
    status_bytes,
    status_of,
)
from manager.state.tables import KIND_NUMBERS, KINDS, Record, View
from pyswarm.errors import DataLoss, InvalidArgument, NotFound
from pyswarm.model import (
    GenericResource,
    Meta,
    NetworkAttachment,
    Service,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.wire.codec import decode, encode, zero
from pyswarm.wire.remake import maker, remaker

DELETE: Final = 0
PUT: Final = 1
PUT_TASK: Final = 2
TASK_UPDATE: Final = 3
ASSIGN: Final = 4

_HEADER: Final = struct.Struct(">QQQ")
_FRAME: Final = struct.Struct(">BBI")
_UPDATE: Final = struct.Struct(">BHd")
_LENGTH: Final = struct.Struct(">H")
_TIME: Final = struct.Struct(">d")
_NO_SPEC: Final = zero(TaskSpec)
R = TypeVar("R", bound=Record)


class Records(Protocol):
    """What a change is read against: a view, or one that is being written."""

    def get(self, kind: type[R], record_id: str) -> R | None:
        """The record of that id."""
        ...

    def require(self, kind: type[R], record_id: str) -> R:
        """The record of that id; raises NotFound."""
        ...

    def reader(self, kind: type[R]) -> Callable[[str], R | None]:
        """`get` of one kind, for many records."""
        ...


@dataclass(frozen=True, slots=True)
class Put:
    """The record is new or replaces the one of its id."""

    record: Record


@dataclass(frozen=True, slots=True)
class Delete:
    """The record is gone."""

    kind: type[Record]
    id: str


Change = Put | Delete | Assign


class Chain(NamedTuple):
    """Where a change set stands: the `sequence`-th of its epoch (from 1); `base` is the version
    of the state on which the epoch began."""

    epoch: int
    sequence: int
    base: int


@dataclass(frozen=True, slots=True)
class Changed:
    """One record before and after; `None` where it was not there."""

    kind: type[Record]
    id: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Commit:
    """What one committed change set did to the state."""

    version: int
    changes: tuple[Changed, ...]


def follows(view: View, chain: Chain) -> bool:
    """Whether a change set was computed on exactly this state."""
    if chain.sequence == 1:
        return view.version == chain.base
    return view.epoch == chain.epoch and view.sequence == chain.sequence - 1


def encode_change(view: View, change: Change) -> bytes:
    """One frame; `view` is the state before the change set, as far as this record goes."""
    if isinstance(change, Delete):
        return _frame(DELETE, change.kind, change.id.encode())
    if isinstance(change, Assign):
        return _frame(ASSIGN, Task, change.body)
    record = change.record
    if isinstance(record, Task):
        old = view.get(Task, record.id)
        if old is not None and _is_update(old, record):
            return _frame(TASK_UPDATE, Task, _encode_update(old, record))
        if shares_spec(view, record):
            return _frame(PUT_TASK, Task, encode(replace(record, spec=_NO_SPEC)))
    return _frame(PUT, record.__class__, encode(record))


def _frame(action: int, kind: type[Record], body: bytes) -> bytes:
    return _FRAME.pack(action, KIND_NUMBERS[kind], len(body)) + body


def shares_spec(view: View, task: Task) -> bool:
    """Whether the task's spec is that of its service, so that it need not be written again."""
    service = view.get(Service, task.service_id)
    return (
        service is not None
        and service.spec_version == task.spec_version
        and (service.spec.task is task.spec or service.spec.task == task.spec)
    )


def encode_set(chain: Chain, frames: Iterable[bytes]) -> bytes:
    """The entry for the log."""
    return _HEADER.pack(chain.epoch, chain.sequence, chain.base) + b"".join(frames)


def decode_chain(data: bytes) -> Chain:
    """The header of an entry."""
    if len(data) < _HEADER.size:
        raise DataLoss(f"a log entry of {len(data)} bytes is not a change set")
    return Chain(*_HEADER.unpack_from(data))


def decode_changes(
    data: bytes, view: Callable[[], Records], known: Mapping[bytes, Assign] | None = None
) -> Iterator[Change]:
    """The changes of an entry one by one; `view` answers the state after those before. `known` are
    changes that were read before, on the same state, by their bytes."""
    offset = _HEADER.size
    while offset < len(data):
        try:
            action, number, length = _FRAME.unpack_from(data, offset)
            kind = KINDS[number]
        except (struct.error, KeyError) as error:
            raise DataLoss(
                "a log entry holds a change that this version does not know: "
                "run the version of pyswarm that wrote it"
            ) from error
        offset += _FRAME.size
        body = data[offset : offset + length]
        offset += length
        before = view()
        if action == ASSIGN and known and body in known:
            yield known[body]
            continue
        try:
            change = _decode_body(action, kind, body, before)
        except (struct.error, ValueError, InvalidArgument, NotFound) as error:
            raise DataLoss(f"a log entry holds a change that cannot be read: {error}") from error
        yield change


def _decode_body(action: int, kind: type[Record], body: bytes, view: Records) -> Change:
    if action == DELETE:
        return Delete(kind, body.decode())
    if action == PUT:
        return Put(decode(kind, body))
    if action == PUT_TASK:
        return Put(_sharing(decode(Task, body), view))
    if action == TASK_UPDATE:
        return Put(_decode_update(body, view))
    if action == ASSIGN:
        return read_assign(body, view.reader(Task))
    raise DataLoss(f"a log entry holds a change of unknown action {action}")


def _sharing(task: Task, view: Records) -> Task:
    """A new task with its service's spec; what it repeats of others, it holds of them, too."""
    service = view.require(Service, task.service_id)
    labels = service.spec.labels
    return replace(
        task,
        service_id=service.id,
        service_name=sys.intern(task.service_name),
        service_labels=labels if task.service_labels == labels else task.service_labels,
        node_id=sys.intern(task.node_id),
        spec=service.spec.task,
        status=_sharing_message(task.status),
        networks=tuple(map(_sharing_id, task.networks)),
    )


def _sharing_message(status: TaskStatus) -> TaskStatus:
    return replace(status, message=sys.intern(status.message))


def _sharing_id(attachment: NetworkAttachment) -> NetworkAttachment:
    return replace(attachment, network_id=sys.intern(attachment.network_id))


# Which of the fields that a task changes in its life are there; the desired state always is.
_STATUS, _NODE, _NETWORKS, _START, _GENERIC = 1, 2, 4, 8, 16


def _is_update(old: Task, new: Task) -> bool:
    return (
        (old.spec is new.spec or old.spec == new.spec)
        and old.spec_version == new.spec_version
        and old.slot == new.slot
        and old.service_id == new.service_id
        and old.service_name == new.service_name
        and (old.service_labels is new.service_labels or old.service_labels == new.service_labels)
        and old.ports == new.ports
        and old.meta.created_at == new.meta.created_at
    )


def _block(body: bytes) -> bytes:
    assert len(body) < 1 << 16, f"a part of a task update has {len(body)} bytes"
    return _LENGTH.pack(len(body)) + body


def _encode_update(old: Task, new: Task) -> bytes:
    mask = 0
    parts = [_block(new.id.encode())]
    if new.status is not old.status and new.status != old.status:
        mask |= _STATUS
        parts.append(_block(status_bytes(new.status)))
    if new.node_id != old.node_id:
        mask |= _NODE
        parts.append(_block(new.node_id.encode()))
    if new.networks != old.networks:
        mask |= _NETWORKS
        parts.append(_LENGTH.pack(len(new.networks)))
        parts += [_block(encode(attachment)) for attachment in new.networks]
    if new.start_after != old.start_after:
        mask |= _START
        parts.append(_TIME.pack(new.start_after))
    if new.generic_resources != old.generic_resources:
        mask |= _GENERIC
        parts.append(_LENGTH.pack(len(new.generic_resources)))
        parts += [_block(encode(resource)) for resource in new.generic_resources]
    return _UPDATE.pack(mask, new.desired_state, new.meta.updated_at) + b"".join(parts)


class _Reader:
    """Takes blocks off a body, one after the other."""

    def __init__(self, body: bytes, offset: int) -> None:
        self._body = body
        self._offset = offset

    def number(self) -> int:
        (value,) = _LENGTH.unpack_from(self._body, self._offset)
        self._offset += _LENGTH.size
        return int(value)

    def block(self) -> bytes:
        length = self.number()
        self._offset += length
        return self._body[self._offset - length : self._offset]

    def time(self) -> float:
        (value,) = _TIME.unpack_from(self._body, self._offset)
        self._offset += _TIME.size
        return float(value)


def _decode_update(body: bytes, view: Records) -> Task:
    mask, desired, updated_at = _UPDATE.unpack_from(body)
    reader = _Reader(body, _UPDATE.size)
    old = view.require(Task, reader.block().decode())
    status = old.status
    if mask & _STATUS:
        status = status_of(reader.block())
    node_id = sys.intern(reader.block().decode()) if mask & _NODE else old.node_id
    networks = old.networks
    if mask & _NETWORKS:
        count = reader.number()
        decoded = (decode(NetworkAttachment, reader.block()) for _ in range(count))
        networks = tuple(map(_sharing_id, decoded))
    start_after = reader.time() if mask & _START else old.start_after
    generic = old.generic_resources
    if mask & _GENERIC:
        count = reader.number()
        generic = tuple(decode(GenericResource, reader.block()) for _ in range(count))
    updated: Task = _updated(
        old,
        _meta(UNCOMMITTED, old.meta.created_at, updated_at),
        status,
        TaskState(desired),
        node_id,
        networks,
        start_after,
        generic,
    )
    return updated


_meta: Final = maker(Meta)
_updated: Final = remaker(
    Task,
    "meta",
    "status",
    "desired_state",
    "node_id",
    "networks",
    "start_after",
    "generic_resources",
)
