"""Sets of nodes as numbers: bit i is the i-th node by id, so a cut of two sets is one operation.

Services of one cluster use few keys with few values, so which nodes satisfy a constraint is found
once for a set of nodes, and a service costs a few operations on numbers, however many nodes there
are. The lowest bit is the least id, which makes ties what they shall be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from manager.placement.constraint import descriptor_value, matches, parse, value_key
from manager.placement.fit import platform_fits
from pyswarm.errors import InvalidArgument
from pyswarm.model import Availability, Node, NodeState, Placement, Platform

Mask = int
Path = tuple[str, ...]
"""A node's values under the spread preferences, in their order."""

CACHED_MAX: Final = 1024
"""Placements whose nodes are remembered."""


def takes_tasks(node: Node) -> bool:
    """Whether the node is there and takes new tasks."""
    return node.status.state == NodeState.READY and node.spec.availability == Availability.ACTIVE


def positions(mask: Mask) -> Iterator[int]:
    """The places of a set, in their order."""
    digits = bin(mask)[:1:-1]  # the lowest first; to search a text beats to take bits off a number
    place = digits.find("1")
    while place >= 0:
        yield place
        place = digits.find("1", place + 1)


def mask_of(nodes: Sequence[Node], holds: Callable[[Node], bool]) -> Mask:
    """The nodes for which `holds` is true."""
    digits = bytearray((len(nodes) + 7) // 8)
    for place, node in enumerate(nodes):
        if holds(node):
            digits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(digits, "little")


class Masks:
    """What is the same for many tasks about `nodes`, which are sorted by id and do not change."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._keys: dict[str, dict[str, Mask]] = {}
        self._platforms: dict[tuple[Platform, ...], Mask] = {}
        self._members: dict[tuple[object, ...], Mask] = {}
        self._ready = mask_of(nodes, takes_tasks)

    def members(self, placement: Placement) -> Mask:
        """The nodes that take tasks and satisfy constraints and platforms."""
        key = (placement.constraints, placement.platforms)
        found = self._members.get(key)
        if found is None:
            if len(self._members) >= CACHED_MAX:
                self._members.clear()
            found = self._members[key] = self._select(placement)
        return found

    def _select(self, placement: Placement) -> Mask:
        found = self._ready & self._on_platform(placement.platforms)
        try:
            parsed = [parse(text) for text in placement.constraints]
        except InvalidArgument:
            return 0
        for each in parsed:
            if each.key == "node.ip":
                found &= mask_of(self._nodes, partial(matches, each))
                continue
            same = self.values(each.key).get(value_key(each.key, each.value), 0)
            found = found & same if each.equal else found & ~same
        return found

    def _on_platform(self, platforms: tuple[Platform, ...]) -> Mask:
        found = self._platforms.get(platforms)
        if found is None:
            fits = {
                node.description.platform: platform_fits(platforms, node) for node in self._nodes
            }
            found = mask_of(self._nodes, lambda node: fits[node.description.platform])
            self._platforms[platforms] = found
        return found

    def values(self, key: str) -> dict[str, Mask]:
        """Value -> the nodes that have it under `key`; those that have none are under ""."""
        found = self._keys.get(key)
        if found is None:
            digits: dict[str, bytearray] = {}
            size = (len(self._nodes) + 7) // 8
            for place, node in enumerate(self._nodes):
                value = value_key(key, descriptor_value(node, key))
                own = digits.get(value)
                if own is None:
                    own = digits[value] = bytearray(size)
                own[place >> 3] |= 1 << (place & 7)
            found = self._keys[key] = {
                value: int.from_bytes(own, "little") for value, own in digits.items()
            }
        return found
