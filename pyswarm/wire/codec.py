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
from pyswarm.wire.remake import maker

Record = TypeVar("Record")
Convert = Callable[[Any], Any]


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
    """How one field travels: the source of what is written of `v`, its value, and of what is read
    from `m`, its message. `record` is the type of a nested record, whose message need not be
    there; `plain` says that an empty value is False."""

    name: str
    write: str
    read: str
    optional: bool
    plain: bool = False
    record: type | None = None


def _field(name: str, hint: Any, scope: dict[str, Any]) -> _Field:
    """A field, with what its sources name put into `scope`."""
    hint, optional = _optional(hint)
    value, origin = f"m.{name}", typing.get_origin(hint)
    if origin is Mapping:
        return _Field(name, "v", f"dict(v) if (v := {value}) else {{}}", optional, plain=True)
    many = origin is tuple
    kind = typing.get_args(hint)[0] if many else hint
    record = cast("type | None", kind if dataclasses.is_dataclass(kind) else None)
    if record is not None:
        scope[f"r_{name}"], scope[f"w_{name}"] = _reader(record), _writer(record)
        scope[f"m_{name}"] = message_type(record)
    elif issubclass(kind, IntEnum):
        scope[f"r_{name}"], scope[f"w_{name}"] = kind, int
    elif many:
        return _Field(name, "v", f"tuple(v) if (v := {value}) else ()", optional, plain=True)
    else:
        return _Field(name, "v", value, optional, plain=True)
    if many:
        write = f"[w_{name}(e) for e in v]"
        read = f"tuple([r_{name}(e) for e in v]) if (v := {value}) else ()"
        return _Field(name, write, read, optional, plain=True)
    write = f"w_{name}(v)"
    if record is not None and optional:
        write = f"m_{name}(**{write})"  # one that is there is there, whatever is in it
    return _Field(name, write, f"r_{name}({value})", optional, record=record)


def _fields(kind: type, scope: dict[str, Any]) -> list[_Field]:
    hints = typing.get_type_hints(kind)
    return [_field(f.name, hints[f.name], scope) for f in dataclasses.fields(kind)]


def _compiled(lines: list[str], scope: dict[str, Any]) -> Convert:
    # The source holds names of our own classes' fields and nothing that was read.
    scope["__builtins__"] = {"dict": dict, "tuple": tuple}
    exec("\n    ".join(lines), scope)
    made: Convert = scope["convert"]
    return made


@cache
def _writer(kind: type) -> Convert:
    """record -> the values of its message, by name; those of a nested record are such a mapping in
    turn. Nothing is written for an empty value: that is what makes small records cheap."""
    scope: dict[str, Any] = {}
    lines = ["def convert(r):", "values = {}"]
    for f in _fields(kind, scope):
        put = f"values['{f.name}'] = "
        lines.append(f"v = r.{f.name}")
        if f.plain or (f.record is None and not f.optional):
            lines += ["if v:", f"    {put}{f.write}"]
        elif f.optional:
            lines += ["if v is not None:", f"    {put}{f.write}"]
        else:
            scope[f"z_{f.name}"] = zero(f.record)
            lines += [
                f"if v is not z_{f.name}:",
                f"    v = {f.write}",
                "    if v:",
                f"        {put}v",
            ]
    return _compiled([*lines, "return values"], scope)


def to_message(record: Any) -> Any:
    """The protobuf message of a record, of the class of the same name in `objects_pb2`."""
    kind = record.__class__
    return message_type(kind)(**_writer(kind)(record))


@cache
def zero(kind: type[Record]) -> Record:
    """The record of zeros: what an absent message is read as, and this very object not written."""
    return from_message(kind, message_type(kind)())


@cache
def _reader(kind: type) -> Convert:
    """message -> record; raises ValueError where an enum's number is unknown."""
    scope: dict[str, Any] = {"make": maker(kind)}
    values = []
    for f in _fields(kind, scope):
        if f.record is None:
            values.append(f.read)
        else:
            scope[f"z_{f.name}"] = None if f.optional else zero(f.record)
            values.append(f"{f.read} if m.HasField('{f.name}') else z_{f.name}")
    return _compiled(["def convert(m):", f"return make({', '.join(values)})"], scope)


def from_message(kind: type[Record], message: Message) -> Record:
    """The record of type `kind`; raises InvalidArgument where an enum's number is unknown."""
    read = _reader(cast("type", kind))
    try:
        return cast("Record", read(message))
    except ValueError as error:
        raise InvalidArgument(f"{kind.__name__}: {error}") from error


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
