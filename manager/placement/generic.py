"""Generic resources: how many of a kind there are, and which of them a task is given.

A service asks for a count. A node offers a count, or pieces by name; of those a task is given
some by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pyswarm.model import GenericResource


def counts(resources: Iterable[GenericResource]) -> Counter[str]:
    """Kind -> pieces; a name is one piece."""
    found: Counter[str] = Counter()
    for each in resources:
        found[each.kind] += 1 if each.value else each.count
    return found


class Stock:
    """What is free on one node."""

    def __init__(self, offered: Iterable[GenericResource]) -> None:
        offered = tuple(offered)
        self._names: dict[str, dict[str, None]] = {}
        self._counts: dict[str, int] = {}
        self._offered = frozenset((each.kind, each.value) for each in offered if each.value)
        self.give_back(offered)

    def free(self, kind: str) -> int:
        """How many pieces are free."""
        return len(self._names.get(kind, ())) + max(0, self._counts.get(kind, 0))

    def has(self, wanted: Iterable[GenericResource]) -> bool:
        """Whether all that is wanted is free."""
        return all(self.free(each.kind) >= each.count for each in wanted)

    def claim(self, wanted: Iterable[GenericResource]) -> tuple[GenericResource, ...]:
        """Take what is wanted, which must be there; answers the pieces: names in their order."""
        taken = []
        for each in wanted:
            names = sorted(self._names.get(each.kind, ()))[: each.count]
            taken += [GenericResource(kind=each.kind, value=name) for name in names]
            if rest := each.count - len(names):
                taken.append(GenericResource(kind=each.kind, count=rest))
        self.take(taken)
        return tuple(taken)

    def take(self, pieces: Iterable[GenericResource]) -> None:
        """Take just these; one that is not offered here any more is nothing to take."""
        for each in pieces:
            if each.value:
                self._names.get(each.kind, {}).pop(each.value, None)
            else:
                self._counts[each.kind] = self._counts.get(each.kind, 0) - each.count

    def give_back(self, pieces: Iterable[GenericResource]) -> None:
        """Free these pieces again."""
        for each in pieces:
            if not each.value:
                self._counts[each.kind] = self._counts.get(each.kind, 0) + each.count
            elif (each.kind, each.value) in self._offered:
                self._names.setdefault(each.kind, {})[each.value] = None


def offers(offered: Iterable[GenericResource], wanted: Iterable[GenericResource]) -> bool:
    """Whether a node that does nothing else could carry what is wanted."""
    has: Mapping[str, int] = counts(offered)
    return all(has.get(each.kind, 0) >= each.count for each in wanted)
