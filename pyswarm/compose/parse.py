"""YAML text to marked values.

Scalars stay text (or null): only the schema knows what each has to be. So there is no yes that
becomes true, no 22:22 that becomes 1342, and `VERSION: 1.10` keeps its zero. Aliases and merge
keys are copied where they are used; the bounds below hold after copying, so that a small file
cannot become a large value ("billion laughs").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from pyswarm.compose.marked import ComposeError, Marked, Place, Value

FILE_BYTES_MAX: Final = 1024 * 1024
ELEMENTS_MAX: Final = 50_000
DEPTH_MAX: Final = 40

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS: Final = frozenset({"!reset", "!override"})
_STANDARD: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_MERGE: Final = "<<"


def parse(text: str, file: str) -> Marked:
    """The top-level mapping of one compose file; `file` is the name used in messages."""
    if len(text) > FILE_BYTES_MAX:
        raise ComposeError(f"{file} is larger than {FILE_BYTES_MAX} bytes")
    reader = _Reader(file)
    try:
        documents = list(_documents(reader, yaml.parse(text, Loader=yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise ComposeError(f"{Place(file, line)}: not valid YAML: {error.problem}") from error
    # PyYAML lets Python's own errors out for escapes beyond Unicode and for absurd versions.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        first_line = (str(error).splitlines() or ["unreadable"])[0]
        raise ComposeError(f"{file}: not valid YAML: {first_line}") from error
    if not documents or documents[0].absent:
        raise ComposeError(f"{file} is empty: a compose file needs at least a service")
    if len(documents) > 1:
        raise documents[1].error("a second document begins here, and a compose file is only one")
    if not isinstance(documents[0].value, dict):
        raise documents[0].error("the top level of a compose file must be a mapping")
    return documents[0]


def _documents(reader: _Reader, events: Iterator[Event]) -> Iterator[Marked]:
    for event in events:
        if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
            reader.anchors.clear()
            yield reader.read(event, events, "", None, 0)


class _Reader:
    """Builds marked values from events; an anchor keeps the value that it names."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.anchors: dict[str, Marked | None] = {}
        self.elements = 0

    def read(
        self, event: Event, events: Iterator[Event], path: str, place: Place | None, depth: int
    ) -> Marked:
        """One value with all that is in it; `place` is that of its key, if it has one."""
        here = Marked(None, place or self._place(event), path)
        self._count(here, depth)
        if isinstance(event, AliasEvent):
            return self._copy(self._anchored(event, here), path, here.place, depth)
        assert isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent)
        if event.anchor:
            self.anchors[event.anchor] = None
        value: Value
        if isinstance(event, ScalarEvent):
            value = self._scalar(event, here)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(events, here, depth)
        else:
            value = self._mapping(events, here, depth)
        read = Marked(value, here.place, path, self._tag(event, here))
        if event.anchor:
            self.anchors[event.anchor] = read
        return read

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        assert mark is not None, f"the parser marks every event, but not {event}"
        return Place(self.file, mark.line + 1)

    def _count(self, here: Marked, depth: int) -> None:
        self.elements += 1
        if self.elements > ELEMENTS_MAX:
            raise here.error(f"more than {ELEMENTS_MAX} values, counting each use of an anchor")
        if depth > DEPTH_MAX:
            raise here.error(f"nested deeper than {DEPTH_MAX} levels")

    def _scalar(self, event: ScalarEvent, here: Marked) -> str | None:
        text: str = event.value
        if not event.style and not event.tag and text in _NULLS:
            return None
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise here.error("holds a character that no text may hold")
        return text

    def _tag(
        self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, here: Marked
    ) -> str:
        if event.tag in _TAGS:
            return str(event.tag)
        if event.tag and event.tag != "!" and event.tag not in _STANDARD:
            raise here.error(f"the tag {event.tag} has no meaning in a compose file")
        return ""

    def _sequence(self, events: Iterator[Event], here: Marked, depth: int) -> Value:
        items: list[Marked] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self.read(event, events, here.child_path(len(items)), None, depth + 1))
        return items

    def _mapping(self, events: Iterator[Event], here: Marked, depth: int) -> Value:
        own: dict[str, Marked] = {}
        merged: dict[str, Marked] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, here)
            place = self._place(event)
            if key in own:
                twice = Marked(None, place, here.path)
                raise twice.error(f"the key '{key}' is already in line {own[key].place.line}")
            value = self.read(next(events), events, here.child_path(key), place, depth + 1)
            if key == _MERGE and isinstance(event, ScalarEvent) and not event.style:
                merged = self._merge(value, here, depth) | merged
            else:
                own[key] = value
        return merged | own

    def _key(self, event: Event, here: Marked) -> str:
        if isinstance(event, AliasEvent):
            return self._anchored(event, here).text
        if not isinstance(event, ScalarEvent):
            raise Marked(None, self._place(event), here.path).error("a key must be plain text")
        key = self._scalar(event, here) or event.value
        if event.anchor:
            self.anchors[event.anchor] = here.put(key)
        return str(key)

    def _anchored(self, event: AliasEvent, here: Marked) -> Marked:
        name = str(event.anchor)
        if name not in self.anchors:
            raise here.error(f"the alias *{name} has no anchor &{name} before it")
        target = self.anchors[name]
        if target is None:
            raise here.error(f"the anchor &{name} contains itself")
        return target

    def _merge(self, value: Marked, here: Marked, depth: int) -> dict[str, Marked]:
        sources = value.items if isinstance(value.value, list) else [value]
        entries: dict[str, Marked] = {}
        for source in reversed(sources):
            if not isinstance(source.value, dict):
                raise value.error("<< takes a mapping or a list of mappings")
            for key, entry in source.value.items():
                entries[key] = self._copy(entry, here.child_path(key), entry.place, depth + 1)
        return entries

    def _copy(self, source: Marked, path: str, place: Place, depth: int) -> Marked:
        """The value under another path; inner lines stay those of the anchor."""
        here = Marked(None, place, path, source.tag)
        self._count(here, depth)
        value = source.value
        if isinstance(value, dict):
            value = {
                key: self._copy(entry, here.child_path(key), entry.place, depth + 1)
                for key, entry in value.items()
            }
        elif isinstance(value, list):
            value = [
                self._copy(item, here.child_path(index), item.place, depth + 1)
                for index, item in enumerate(value)
            ]
        return here.put(value)
