"""Records as rows of plain values, for many records at once: what a snapshot is made of.

A row holds a record's fields in the order of its class, nested records as rows within it, so it
has no names and no tags: packing 100,000 of them takes a third of the time of messages. The names
travel once, as a *layout* beside the rows, so a reader of another version finds each field by its
name, leaves out what it does not know, and takes the default for what was not written.

A converter is compiled for each record type, as `dataclasses` compiles its constructors.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import cache
from typing import Any

from pyswarm.errors import DataLoss

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


class Readers:
    """row -> its record, for each record type, for rows of one layout.

    `instead` as for `Writers`, the other way. What these answer raises ValueError, KeyError,
    IndexError or TypeError for what is no such row; `of` raises DataLoss where a layout is missing.
    """

    def __init__(self, layout: Layout, instead: Instead | None = None) -> None:
        self._layout = layout
        self._instead = instead or {}
        self._made: dict[type, Callable[[Row], Any]] = {}
        self._maps = _Maps()

    def of(self, kind: type) -> Callable[[Row], Any]:
        """The reader of a record type."""
        if kind not in self._made:
            self._made[kind] = self._compile(kind)
        return self._made[kind]

    def _compile(self, kind: type) -> Callable[[Row], Any]:
        written = self._layout.get(kind.__name__)
        if written is None:
            raise DataLoss(f"no layout of {kind.__name__} was written")
        names: dict[str, Any] = {"share": sys.intern, "maps": self._maps}
        cells = {}
        for name, hint in _hints(kind).items():
            if name in written:
                value = f"r[{written.index(name)}]"
                cells[name] = self._cell(kind, name, hint, value, names)
            else:
                cells[name] = _default(kind, name, names)
        return _maker(kind, cells, names)

    def _cell(self, kind: type, name: str, hint: Any, value: str, names: dict[str, Any]) -> str:
        shape, inner = _parts(hint)
        if (kind, name) in self._instead:
            names[f"r_{name}"] = self._instead[kind, name]
            return f"r_{name}({value})"
        if dataclasses.is_dataclass(inner):
            names[f"r_{name}"] = self.of(typing.cast("type", inner))
            if shape == "many":
                return f"{value} and tuple([r_{name}(v) for v in {value}])"
            return f"None if {value} is None else r_{name}({value})"
        if shape == "map":
            return f"maps[{value}]"
        if isinstance(inner, type) and issubclass(inner, IntEnum):
            names[f"e_{name}"] = {int(member): member for member in inner}
            many = f"tuple([e_{name}[v] for v in {value}])"
            return many if shape == "many" else f"e_{name}[{value}]"
        return f"share({value})" if shape == "one" and name in REPEATED else value


class _Maps(dict[tuple[tuple[str, Any], ...], Mapping[str, Any]]):
    """Sorted pairs -> their mapping: equal mappings are one object."""

    def __missing__(self, pairs: tuple[tuple[str, Any], ...]) -> Mapping[str, Any]:
        found = self[pairs] = dict(pairs)
        return found


def _default(kind: type, name: str, names: dict[str, Any]) -> str:
    [found] = [f for f in dataclasses.fields(kind) if f.name == name]
    if found.default_factory is not dataclasses.MISSING:
        names[f"d_{name}"] = found.default_factory
        return f"d_{name}()"
    names[f"d_{name}"] = found.default
    return f"d_{name}"


def _maker(kind: type, cells: Mapping[str, str], names: dict[str, Any]) -> Callable[[Row], Any]:
    """row -> a record with these values.

    The constructor of a frozen record sets each field by a call, which is most of the time that
    reading takes. So it is filled as an object of a class with the same slots that is not frozen,
    and becomes the record at the end.
    """
    draft = _draft(kind)
    lines = [f"    o.{name} = {value}" for name, value in cells.items()]
    source = "\n".join(["def read(r):", "    o = draft()", *lines, "    o.__class__ = kind"])
    scope = {"__builtins__": _BUILTINS, "draft": draft, "kind": kind, **names}
    exec(_code(f"{source}\n    return o", "exec"), scope)
    made: Callable[[Row], Any] = scope["read"]
    return made


@cache
def _draft(kind: type) -> type:
    slots = {"__slots__": kind.__slots__}  # type: ignore[attr-defined]
    return type(f"{kind.__name__}Draft", (), slots)


def _compiled(source: str, names: dict[str, Any]) -> Callable[[Any], Any]:
    made: Callable[[Any], Any] = eval(_code(source, "eval"), {"__builtins__": _BUILTINS, **names})
    return made


@cache
def _code(source: str, mode: str) -> types.CodeType:
    # The source holds names of our own classes' fields and nothing that was read.
    return compile(source, "rows", mode)


_BUILTINS = {"tuple": tuple, "sorted": sorted}
