"""The shape that a value must have, and the reader that checks it and names what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.compose.marked import Marked, Value
from pyswarm.compose.values import TEXT, Kind

_SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What may stand in a place: a scalar, a list, a mapping, or several of them.

    `values` is the shape of the entries of a mapping whose keys the user chooses; `fields` are
    the known keys of any other mapping, `ignored` those that a swarm does without (with the
    reason, for a warning), `refused` those that cannot be left out without harm. `null` says
    that a key without a value has a meaning; elsewhere it is the same as no key.
    """

    scalar: Kind | None = None
    items: Shape | None = None
    values: Shape | None = None
    fields: Mapping[str, Shape] | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    null: bool = False

    @property
    def expected(self) -> str:
        """What may stand here, in words."""
        words = [self.scalar.name] if self.scalar else []
        if self.items:
            words.append("a list")
        if self.mapping:
            words.append("a mapping")
        return " or ".join(words)

    @property
    def mapping(self) -> bool:
        """Whether a mapping may stand here."""
        return self.fields is not None or self.values is not None


@dataclass(slots=True)
class Findings:
    """What a reading found: problems refuse the file, warnings do not."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(item: Marked, shape: Shape, findings: Findings) -> Marked:
    """The value with its scalars read, without unknown, ignored and empty keys.

    Whatever is wrong goes to `findings`, and the reading goes on after it.
    """
    if item.tag == "!reset" or (item.absent and shape.null):
        return item.put(None)
    if isinstance(item.value, dict):
        if shape.mapping:
            return item.put(_mapping(item, shape, findings))
    elif isinstance(item.value, list):
        if shape.items:
            return item.put([read(entry, shape.items, findings) for entry in item.value])
    elif shape.scalar and not item.absent:
        return item.put(_scalar(item, shape.scalar, findings))
    findings.problems.append(item.problem(f"must be {shape.expected}, not {_shown(item)}"))
    return item.put(None)


def _scalar(item: Marked, kind: Kind, findings: Findings) -> Value:
    try:
        return kind.read(item.text)
    except ValueError:
        findings.problems.append(item.problem(f"must be {kind.name}, not {_shown(item)}"))
        return None


def _shown(item: Marked) -> str:
    if isinstance(item.value, dict):
        return "a mapping"
    if isinstance(item.value, list):
        return "a list"
    if item.absent:
        return "empty"
    text = item.text if len(item.text) <= _SHOWN_MAX else item.text[: _SHOWN_MAX - 3] + "..."
    return f"'{text}'"


def _mapping(item: Marked, shape: Shape, findings: Findings) -> Value:
    entries: dict[str, Marked] = {}
    for key, entry in item.entries.items():
        if shape.values:
            entries[key] = read(entry, shape.values, findings)
            continue
        assert shape.fields is not None, "a mapping has values or fields"
        known = shape.fields.get(key)
        if known:
            if not entry.absent or known.null or entry.tag:
                entries[key] = read(entry, known, findings)
        elif key in shape.ignored:
            findings.warnings.append(entry.problem(f"ignored: {shape.ignored[key]}"))
        elif key in shape.refused:
            findings.problems.append(entry.problem(shape.refused[key]))
        elif not key.startswith("x-"):
            findings.problems.append(entry.problem(f"unknown key{_hint(key, shape)}"))
    return entries


def _hint(key: str, shape: Shape) -> str:
    """The known key that was perhaps meant: one that looks alike, or this one a level deeper."""
    assert shape.fields is not None, "only mappings of known keys have unknown ones"
    for name, inner in shape.fields.items():
        if inner.fields and key in inner.fields:
            return f", did you mean {name}.{key}?"
    known = [*shape.fields, *shape.ignored]
    close = difflib.get_close_matches(key[:_SHOWN_MAX], known, 1)
    return f", did you mean {close[0]}?" if close else ""


def one(kind: Kind) -> Shape:
    """A scalar."""
    return Shape(scalar=kind)


def listed(items: Shape) -> Shape:
    """A list."""
    return Shape(items=items)


def text_or_list() -> Shape:
    """One text, or a list of them."""
    return Shape(scalar=TEXT, items=one(TEXT))


def pairs() -> Shape:
    """Names with values, as a mapping or as a list of NAME=value; a value may be left out."""
    return Shape(items=one(TEXT), values=Shape(scalar=TEXT, null=True))
