"""The whole state as bytes, and back: equal states have equal bytes.

    snapshot = magic, version u64, epoch u64, sequence u64, specs, table*
    specs    = count u32, (length u32, task spec)*
    table    = kind u8, count u32, record*                         sorted by id
    record   = length u32, record; a task has the number of its spec (u32) before its length

A task spec is written once however many tasks have it, and read back as one object; specs are
numbered in the order in which the sorted tasks first use them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from manager.state.apply import apply_change
from manager.state.changes import Put
from manager.state.tables import KINDS, Record, View
from pyswarm.errors import DataLoss, SwarmError
from pyswarm.model import Service, Task, TaskSpec
from pyswarm.wire.codec import decode, encode

MAGIC: Final = b"pyswarm state 1\n"

_HEAD: Final = struct.Struct(">QQQ")
_COUNT: Final = struct.Struct(">I")
_TABLE: Final = struct.Struct(">BI")
_NO_SPEC: Final = TaskSpec()


def encode_snapshot(view: View) -> bytes:
    """The state as bytes; pure on an immutable value, so any thread may do it."""
    numbers: dict[bytes, int] = {}
    by_identity: dict[int, int] = {}
    parts: list[bytes] = []
    for number, kind in KINDS.items():
        records = view.list(kind)
        parts.append(_TABLE.pack(number, len(records)))
        for record in records:
            if isinstance(record, Task):
                parts.append(_COUNT.pack(_spec_number(record.spec, by_identity, numbers)))
                record = replace(record, spec=_NO_SPEC)
            parts.append(_block(encode(record)))
    head = _HEAD.pack(view.version, view.epoch, view.sequence)
    specs = [_COUNT.pack(len(numbers)), *(_block(spec) for spec in numbers)]
    return b"".join([MAGIC, head, *specs, *parts])


def _spec_number(spec: TaskSpec, by_identity: dict[int, int], numbers: dict[bytes, int]) -> int:
    # The view keeps every spec alive meanwhile, so an identity means one object.
    number = by_identity.get(id(spec))
    if number is None:
        number = by_identity[id(spec)] = numbers.setdefault(encode(spec), len(numbers))
    return number


def _block(body: bytes) -> bytes:
    return _COUNT.pack(len(body)) + body


def decode_snapshot(data: bytes) -> View:
    """The state back from its bytes; raises DataLoss where they are not a snapshot."""
    if not data.startswith(MAGIC):
        raise DataLoss("this is not a snapshot that this version of pyswarm can read")
    try:
        return _decode(_Reader(memoryview(data), len(MAGIC)))
    except (struct.error, ValueError, LookupError, SwarmError) as error:
        raise DataLoss("the snapshot ends early or is damaged") from error


class _Reader:
    """Takes numbers and blocks off the bytes, one after the other."""

    def __init__(self, data: memoryview, offset: int) -> None:
        self._data = data
        self._offset = offset

    def take(self, shape: struct.Struct) -> tuple[int, ...]:
        values = shape.unpack_from(self._data, self._offset)
        self._offset += shape.size
        return values

    def block(self) -> bytes:
        (length,) = self.take(_COUNT)
        body = bytes(self._data[self._offset : self._offset + length])
        if len(body) < length:
            raise IndexError(length)
        self._offset += length
        return body


def _decode(reader: _Reader) -> View:
    version, epoch, sequence = reader.take(_HEAD)
    (count,) = reader.take(_COUNT)
    encoded = [reader.block() for _ in range(count)]
    specs = [decode(TaskSpec, body) for body in encoded]
    shared = {spec: i for i, spec in enumerate(encoded)}
    view = View()
    for _ in KINDS:
        number, length = reader.take(_TABLE)
        kind = KINDS[number]
        for _ in range(length):
            view = apply_change(view, Put(_record(kind, reader, specs, shared)))
    view.version, view.epoch, view.sequence = version, epoch, sequence
    return view


def _record(
    kind: type[Record], reader: _Reader, specs: list[TaskSpec], shared: dict[bytes, int]
) -> Record:
    if kind is Task:
        (number,) = reader.take(_COUNT)
        return replace(decode(Task, reader.block()), spec=specs[number])
    record = decode(kind, reader.block())
    if isinstance(record, Service):
        number = shared.get(encode(record.spec.task), -1)
        if number >= 0:
            return replace(record, spec=replace(record.spec, task=specs[number]))
    return record


Capture = Callable[[], bytes]
"""Encodes the state of the moment at which it was made."""
