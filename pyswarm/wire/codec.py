"""One codec for every record: fields pair with those of the message of the same name.

A converter is compiled for each record type at first use, from the dataclass's annotations; a test
compares every record with its message field by field. One hand-written file per object would be
1,500 lines that say what the names already say, and each of them a place to forget a field.

Protobuf drops zero values, and reading puts them back, so defaults that are not zero survive: a
written record is read back equal. Absent messages are `None` where the field may be `None`, and
the record of zeros elsewhere.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from pyswarm.api.v1 import objects_pb2
from pyswarm.errors import InvalidArgument

Record = TypeVar("Record")
Convert = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def message_type(kind: type) -> type[Message]:
    """The message class of a record type."""
    return cast("type[Message]", getattr(objects_pb2, kind.__name__))


def _optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        assert len(inner) == 1, f"{hint}: a field has one type, or one type and None"
        return inner[0], True
    return hint, False


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """How one field travels: scalar values and enums as they are, records as messages of their
    own, which need not be there."""

    name: str
    write: Convert
    read: Convert
    optional: bool
    record: type | None = None


def _element(hint: Any) -> tuple[Convert, Convert]:
    if dataclasses.is_dataclass(hint):
        kind = cast("type[Any]", hint)
        return to_message, lambda message: from_message(kind, message)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return int, hint
    return _same, _same


def _field(name: str, hint: Any) -> _Field:
    hint, optional = _optional(hint)
    origin = typing.get_origin(hint)
    if origin is tuple:
        write, read = _element(typing.get_args(hint)[0])
        if write is _same:
            return _Field(name, _same, tuple, optional)
        return _Field(
            name,
            lambda values: [write(value) for value in values],
            lambda values: tuple([read(value) for value in values]),
            optional,
        )
    if origin is Mapping:
        return _Field(name, _same, dict, optional)
    write, read = _element(hint)
    record = hint if dataclasses.is_dataclass(hint) else None
    return _Field(name, write, read, optional, typing.cast("type | None", record))


@cache
def _fields(kind: type) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(_field(f.name, hints[f.name]) for f in dataclasses.fields(kind))


@cache
def _writer(kind: type) -> Callable[[Any], Message]:
    fields = [
        (f.name, f.write, None if f.optional or f.record is None else zero(f.record))
        for f in _fields(kind)
    ]
    message = message_type(kind)

    def write(record: Any) -> Message:
        values = {}
        for name, convert, absent in fields:
            value = getattr(record, name)
            # Nothing is written for an empty value: that is what makes small records cheap.
            if absent is not None:
                if value is not absent and (inner := convert(value)).ByteSize():
                    values[name] = inner
            elif value or value.__class__ not in _EMPTY:
                values[name] = None if value is None else convert(value)
        return message(**values)

    return write


_EMPTY = frozenset({str, int, bool, float, bytes, tuple, dict})


def to_message(record: Any) -> Any:
    """The protobuf message of a record, of the class of the same name in `objects_pb2`."""
    return _writer(record.__class__)(record)


@cache
def zero(kind: type[Record]) -> Record:
    """The record of zeros: what an absent message is read as, and this very object not written."""
    return from_message(kind, message_type(kind)())


@cache
def _reader(kind: type) -> Callable[[Any], Any]:
    empty = message_type(kind)()
    numbers = empty.DESCRIPTOR.fields_by_name
    reads: dict[int, tuple[str, Convert]] = {}
    absent: dict[str, Any] = {}
    maps = []
    for f in _fields(kind):
        reads[numbers[f.name].number] = f.name, f.read
        if f.record is not None:
            absent[f.name] = None if f.optional else zero(f.record)
        elif f.read is dict:
            maps.append(f.name)
        else:
            absent[f.name] = f.read(getattr(empty, f.name))

    def read(message: Any) -> Any:
        values = absent.copy()
        for name in maps:
            values[name] = {}
        for field, value in message.ListFields():  # those that are not empty: few
            name, convert = reads[field.number]
            values[name] = convert(value)
        return kind(**values)

    return read


def from_message(kind: type[Record], message: Message) -> Record:
    """The record of type `kind`; raises InvalidArgument where an enum's number is unknown."""
    try:
        record: Record = _reader(kind)(message)
    except ValueError as error:
        raise InvalidArgument(f"{kind.__name__}: {error}") from error
    return record


def encode(record: Any) -> bytes:
    """A record as bytes; equal records have equal bytes."""
    data: bytes = to_message(record).SerializeToString(deterministic=True)
    return data


def decode(kind: type[Record], data: bytes) -> Record:
    """The record back from its bytes; raises InvalidArgument where they are not one."""
    message = message_type(kind)()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"these bytes are not a {kind.__name__}") from error
    return from_message(kind, message)
