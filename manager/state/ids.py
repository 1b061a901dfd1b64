"""Sets of ids that never change: what a secondary index has under each key.

Most are small, a node's tasks or a service's, and to copy a tuple of them costs less than to keep
a persistent map. A large one becomes such a map with its first change.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from immutables import Map

Ids = tuple[str, ...] | Map[str, None]
"""Each id once, in no order."""

FEW: Final = 64
"""Ids up to which a set is a tuple."""


def exchanged(ids: Ids, gone: Collection[str], come: Collection[str]) -> Ids:
    """The set without those that are `gone`, which are in it, and with those that `come`."""
    if len(gone) == len(ids):
        return tuple(come)
    if len(ids) + len(come) <= FEW:
        return (*ids, *come) if not gone else (*(x for x in ids if x not in gone), *come)
    rest = (ids if isinstance(ids, Map) else Map(dict.fromkeys(ids))).mutate()
    for each in gone:
        del rest[each]
    for each in come:
        rest[each] = None
    return rest.finish()
