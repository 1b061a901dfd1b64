"""The last events: so many of each object, and so many of each type, so that the many tasks of one
service cannot push out what happened to a node. Which events a filter lets through."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from manager.events.derive import Event
from pyswarm.errors import InvalidArgument

PER_OBJECT: Final = 100
PER_TYPE: Final = 5000
_OBJECTS: Final = ("service", "node", "task", "network", "secret", "config", "volume")
FILTERS: Final = frozenset([*_OBJECTS, "event", "label", "scope", "type"])
SCOPE: Final = "swarm"

Filters = Mapping[str, Collection[str]]
"""Values of one key are alternatives; each key must match."""


@dataclass(slots=True)
class _OfType:
    events: OrderedDict[int, Event] = field(default_factory=OrderedDict)
    """By a number that grows, so the first one is the oldest. A plain dict would look for it behind
    the places of all that were first before."""
    by_object: dict[str, list[int]] = field(default_factory=dict)


class EventRing:
    """Bounded; `add` forgets the oldest."""

    def __init__(self, per_object: int = PER_OBJECT, per_type: int = PER_TYPE) -> None:
        self._per_object = per_object
        self._per_type = per_type
        self._number = 0
        self._types: dict[str, _OfType] = {}

    def add(self, event: Event) -> None:
        """Keep one more."""
        of_type = self._types.get(event.type)
        if of_type is None:
            of_type = self._types[event.type] = _OfType()
        numbers = of_type.by_object.setdefault(event.id, [])
        if len(numbers) >= self._per_object:
            del of_type.events[numbers.pop(0)]
        self._number += 1
        of_type.events[self._number] = event
        numbers.append(self._number)
        if len(of_type.events) > self._per_type:
            _, oldest = of_type.events.popitem(last=False)
            rest = of_type.by_object[oldest.id]
            del rest[0]
            if not rest:
                del of_type.by_object[oldest.id]

    def all(self) -> list[Event]:
        """Everything that is kept, in order."""
        found = [item for of_type in self._types.values() for item in of_type.events.items()]
        return [event for _, event in sorted(found, key=lambda item: item[0])]

    def __len__(self) -> int:
        return sum(len(of_type.events) for of_type in self._types.values())


def check(filters: Filters) -> None:
    """Raises InvalidArgument for a key that does not exist."""
    for key in filters:
        if key not in FILTERS:
            known = ", ".join(sorted(FILTERS))
            raise InvalidArgument(f"invalid filter '{key}', use one of {known}")


def matches(event: Event, filters: Filters) -> bool:
    """Whether an event passes. A service's or node's filter lets its tasks through, too."""
    return all(
        any(_match(event, key, value) for value in values) for key, values in filters.items()
    )


def _match(event: Event, key: str, value: str) -> bool:
    match key:
        case "type":
            return event.type == value
        case "event":
            return event.action == value
        case "scope":
            return value == SCOPE
        case "label":
            name, equals, wanted = value.partition("=")
            return name in event.labels and (not equals or event.labels[name] == wanted)
    name = event.attributes.get("name", "")
    if event.type == key and _names(event.id, name, value):
        return True
    of_id = event.attributes.get(f"{key}.id", "")
    return bool(of_id) and _names(of_id, event.attributes.get(key, ""), value)


def _names(object_id: str, name: str, value: str) -> bool:
    return name == value or name.startswith(f"{value}.") or object_id.startswith(value)
