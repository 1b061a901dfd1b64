"""Records as rows of plain values, for many records at once: what a snapshot is made of.

A row holds a record's fields in the order of its class, nested records as rows within it, so it
has no names and no tags: packing 100,000 of them takes a third of the time of messages. The names
travel once, as a *layout* beside the rows, so a reader of another version finds each field by its
name, leaves out what it does not know, and takes the default for what was not written.

A writer is compiled for each record type, as `dataclasses` compiles its constructors. Reading goes
by columns, each field of many rows at once, so that most of it happens in C.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache, partial
from itertools import chain, islice, repeat
from typing import Any

from pyswarm.errors import DataLoss
from pyswarm.wire.remake import maker

Row = tuple[Any, ...]
Instead = Mapping[tuple[type, str], Callable[[Any], Any]]
Layout = dict[str, tuple[str, ...]]
"""Class name -> names of its fields, in the order of a row."""

REPEATED = frozenset({"service_id", "service_name", "node_id", "network_id", "message"})
"""Fields whose strings many records share: they are read as one object."""


def layout_of(kinds: Iterable[type]) -> Layout:
    """The layout of these record types and of all that lie within them."""
    found: Layout = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if kind.__name__ not in found:
            found[kind.__name__] = tuple(f.name for f in dataclasses.fields(kind))
            waiting += [_parts(hint)[1] for hint in _hints(kind).values() if _is_record(hint)]
    return dict(sorted(found.items()))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@cache
def _parts(hint: Any) -> tuple[str, Any]:
    """What a field is ("one", "many", "map"), and the type of its values; None may be beside it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    origin = typing.get_origin(hint)
    if origin is tuple:
        return "many", typing.get_args(hint)[0]
    if origin is Mapping:
        return "map", hint
    return "one", hint


def _is_record(hint: Any) -> bool:
    return dataclasses.is_dataclass(_parts(hint)[1])


class Writers:
    """record -> its row, for each record type; equal records have equal rows.

    `instead` names fields (class, field) whose values a function turns into what is packed.
    """

    def __init__(self, instead: Instead | None = None) -> None:
        self._instead = instead or {}
        self._made: dict[type, Callable[[Any], Row]] = {}

    def of(self, kind: type) -> Callable[[Any], Row]:
        """The writer of a record type."""
        if kind not in self._made:
            self._made[kind] = self._compile(kind)
        return self._made[kind]

    def _compile(self, kind: type) -> Callable[[Any], Row]:
        names: dict[str, Any] = {}
        cells = []
        for name, hint in _hints(kind).items():
            shape, inner = _parts(hint)
            value = f"r.{name}"
            if (kind, name) in self._instead:
                names[f"w_{name}"] = self._instead[kind, name]
                value = f"w_{name}({value})"
            elif dataclasses.is_dataclass(inner):
                names[f"w_{name}"] = self.of(typing.cast("type", inner))
                if shape == "many":
                    value = f"{value} and tuple([w_{name}(v) for v in {value}])"
                else:
                    value = f"None if {value} is None else w_{name}({value})"
            elif shape == "map":
                plain = _plain("v", typing.get_args(inner)[1])
                value = (
                    f"tuple(sorted([(k, {plain}) for k, v in {value}.items()])) if {value} else ()"
                )
            elif shape == "one":
                value = _plain(value, inner)
            cells.append(value)
        return _compiled(f"lambda r: ({', '.join(cells)},)", names)


def _plain(value: str, hint: Any) -> str:
    """The source of a scalar that is of its declared type: 1 and 1.0 are equal and pack apart."""
    if hint is float:
        return f"{value} + 0.0"
    return f"not not {value}" if hint is bool else value


Columns = Sequence[tuple[Any, ...]]
Cell = Callable[[Columns, int], Iterable[Any]]
"""The columns of n rows, n -> the n values of one field."""


class Readers:
    """rows -> their records, for each record type, for rows of one layout.

    `instead` as for `Writers`, the other way. What these answer raises ValueError, KeyError,
    IndexError or TypeError for what are no such rows; `of` raises DataLoss where a layout is
    missing.
    """

    def __init__(self, layout: Layout, instead: Instead | None = None) -> None:
        self._layout = layout
        self._instead = instead or {}
        self._made: dict[type, Callable[[Sequence[Row]], list[Any]]] = {}
        self._maps = _Maps()

    def of(self, kind: type) -> Callable[[Sequence[Row]], list[Any]]:
        """The reader of a record type."""
        if kind not in self._made:
            self._made[kind] = self._compile(kind)
        return self._made[kind]

    def _compile(self, kind: type) -> Callable[[Sequence[Row]], list[Any]]:
        written = self._layout.get(kind.__name__)
        if written is None:
            raise DataLoss(f"no layout of {kind.__name__} was written")
        make = maker(kind)
        cells = [
            self._cell(kind, field.name, written.index(field.name))
            if field.name in written
            else _default(field)
            for field in dataclasses.fields(kind)
        ]

        def read(rows: Sequence[Row]) -> list[Any]:
            n, columns = len(rows), list(zip(*rows, strict=True))
            return list(map(make, *[cell(columns, n) for cell in cells])) if n else []

        return read

    def _cell(self, kind: type, name: str, at: int) -> Cell:
        shape, inner = _parts(_hints(kind)[name])
        convert: Callable[[Any], Any] | None = None
        if (kind, name) in self._instead:
            convert = self._instead[kind, name]
        elif dataclasses.is_dataclass(inner):
            read = self.of(typing.cast("type", inner))
            return partial(_read_many if shape == "many" else _read_one, read, at)
        elif shape == "map":
            convert = self._maps.__getitem__
        elif isinstance(inner, type) and issubclass(inner, IntEnum):
            members = {int(member): member for member in inner}
            convert = members.__getitem__
            if shape == "many":
                return lambda columns, _: [tuple([members[v] for v in vs]) for vs in columns[at]]
        elif shape == "one" and name in REPEATED:
            convert = sys.intern
        return partial(_read_plain, convert, at)


class _Maps(dict[tuple[tuple[str, Any], ...], Mapping[str, Any]]):
    """Sorted pairs -> their mapping: equal ones are one object."""

    def __missing__(self, pairs: tuple[tuple[str, Any], ...]) -> Mapping[str, Any]:
        found = self[pairs] = dict(pairs)
        return found


def _default(field: dataclasses.Field[Any]) -> Cell:
    factory = field.default_factory
    value = field.default if factory is dataclasses.MISSING else factory()
    return lambda _, n: repeat(value, n)


def _read_plain(
    convert: Callable[[Any], Any] | None, at: int, columns: Columns, n: int
) -> Iterable[Any]:
    return columns[at] if convert is None else map(convert, columns[at])


def _read_one(
    read: Callable[[Sequence[Row]], list[Any]], at: int, columns: Columns, n: int
) -> Iterable[Any]:
    column = columns[at]
    found = read([row for row in column if row is not None])
    if len(found) == n:
        return found
    rest = iter(found)
    return [None if row is None else next(rest) for row in column]


def _read_many(
    read: Callable[[Sequence[Row]], list[Any]], at: int, columns: Columns, n: int
) -> Iterable[Any]:
    column = columns[at]
    found = read(list(chain.from_iterable(column)))
    if not found:
        return column  # empty tuples
    counts = list(map(len, column))
    if max(counts) == 1 and len(found) == n:
        return zip(found, strict=True)
    rest = iter(found)
    return [tuple(islice(rest, count)) for count in counts]


def _compiled(source: str, names: dict[str, Any]) -> Callable[[Any], Any]:
    made: Callable[[Any], Any] = eval(_code(source), {"__builtins__": _BUILTINS, **names})
    return made


@cache
def _code(source: str) -> types.CodeType:
    # The source holds names of our own classes' fields and nothing that was read.
    return compile(source, "rows", "eval")


_BUILTINS = {"tuple": tuple, "sorted": sorted}
