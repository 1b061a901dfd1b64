"""Frozen records made as fast as others.

The constructor of a frozen record sets each field by a call, which is most of the time that a copy
takes. So a record is filled as an object of a class with the same slots that is not frozen, and
becomes the record at the end. For records that are made by the thousand; elsewhere
`dataclasses.replace` says the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def remaker(kind: type, *changed: str) -> Callable[..., Any]:
    """`f(record, *values)`: a copy of a record of `kind` with new values in some fields."""
    values = {name: name for name in changed}
    return _compiled(kind, ("_record", *changed), values, "_record.{0}")


@cache
def maker(kind: type) -> Callable[..., Any]:
    """`f(*values)`: a record of `kind` from the values of all its fields, in their order."""
    names = tuple(field.name for field in dataclasses.fields(kind))
    return _compiled(kind, names, {name: name for name in names}, "")


def _compiled(
    kind: type, arguments: tuple[str, ...], values: dict[str, str], otherwise: str
) -> Callable[..., Any]:
    names = [field.name for field in dataclasses.fields(kind)]
    assert values.keys() <= set(names), f"{kind.__name__} has not all of {sorted(values)}"
    draft = type(f"{kind.__name__}Draft", (), {"__slots__": kind.__slots__})  # type: ignore[attr-defined]
    lines = [
        f"def _make({', '.join(arguments)}):",
        "    _o = _draft()",
        *(f"    _o.{name} = {values.get(name) or otherwise.format(name)}" for name in names),
        "    _o.__class__ = _kind",
        "    return _o",
    ]
    # The source holds names of our own classes' fields and nothing that was read.
    scope: dict[str, Any] = {"__builtins__": {}, "_draft": draft, "_kind": kind}
    exec("\n".join(lines), scope)
    made: Callable[..., Any] = scope["_make"]
    return made
