"""Placement constraints: `key == value` and `key != value`, as in Docker.

Values are compared as a whole and whatever their case, and so are keys but for the names of labels.
`node.ip` takes an address or a network (CIDR).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import Node

_SHAPE: Final = re.compile(r"\s*([A-Za-z][\w.\-/]*)\s*(==|!=)\s*(\S.*?)\s*")

_FIELDS: Final[dict[str, Callable[[Node], str]]] = {
    "node.id": lambda node: node.id,
    "node.hostname": lambda node: node.description.hostname,
    "node.role": lambda node: node.role.name,
    "node.platform.os": lambda node: node.description.platform.os,
    "node.platform.arch": lambda node: architecture(node.description.platform.architecture),
}

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

NODE_LABELS: Final = "node.labels."
ENGINE_LABELS: Final = "engine.labels."


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint; `equal` is False for `!=`."""

    key: str
    equal: bool
    value: str


def architecture(name: str) -> str:
    """An architecture in Go's words: `x86_64` and `amd64` are one."""
    return _ARCHITECTURES.get(name.lower(), name.lower())


@lru_cache(maxsize=4096)
def parse(text: str) -> Constraint:
    """The constraint in `text`; raises InvalidArgument."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise InvalidArgument(
            f"placement constraint '{text}' is not of the form key==value or key!=value"
        )
    key = canonical(match[1])
    if key == "node.ip":
        _check_network(match[3], text)
    elif not is_known(key):
        raise InvalidArgument(f"placement constraint '{text}': unknown key {match[1]}")
    return Constraint(key, match[2] == "==", match[3])


def canonical(key: str) -> str:
    """The key in the case in which it is looked up; the name of a label is kept as it is."""
    low = key.lower()
    for prefix in (NODE_LABELS, ENGINE_LABELS):
        if low.startswith(prefix):
            return prefix + key[len(prefix) :]
    return low


def is_known(key: str) -> bool:
    """Whether a node can have something under this key, beside addresses."""
    prefixes = (NODE_LABELS, ENGINE_LABELS)
    return key in _FIELDS or (key.startswith(prefixes) and key not in prefixes)


def _check_network(value: str, text: str) -> None:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise InvalidArgument(
            f"placement constraint '{text}': {value} is neither an address nor a network"
        ) from error


def descriptor_value(node: Node, key: str) -> str:
    """What a node has under `key`; empty where it has nothing."""
    key = canonical(key)
    if key.startswith(NODE_LABELS):
        return node.spec.labels.get(key.removeprefix(NODE_LABELS), "")
    if key.startswith(ENGINE_LABELS):
        return node.description.engine_labels.get(key.removeprefix(ENGINE_LABELS), "")
    field = _FIELDS.get(key)
    return field(node) if field is not None else ""


def matches(constraint: Constraint, node: Node) -> bool:
    """Whether the node satisfies one constraint."""
    if constraint.key == "node.ip":
        return _has_address(node, constraint.value) == constraint.equal
    has = value_key(constraint.key, descriptor_value(node, constraint.key))
    return (has == value_key(constraint.key, constraint.value)) == constraint.equal


def value_key(key: str, value: str) -> str:
    """The form in which two values under `key` are compared."""
    return architecture(value) if key == "node.platform.arch" else value.lower()


def _has_address(node: Node, wanted: str) -> bool:
    try:
        network = ipaddress.ip_network(wanted, strict=False)
        return ipaddress.ip_address(node.status.address) in network
    except ValueError:
        return False


def satisfied(texts: Iterable[str], node: Node) -> bool:
    """Whether the node satisfies every constraint; one that cannot be read satisfies nothing."""
    try:
        return all(matches(parse(text), node) for text in texts)
    except InvalidArgument:
        return False
