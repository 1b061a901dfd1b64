"""Names: what each kind of record is called, and which one record a user's word means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pyswarm.errors import InvalidArgument, NotFound
from pyswarm.model import Cluster, ExecRecord, Node, RegistryCredential, Task

Named = TypeVar("Named")


def word(kind: type) -> str:
    """What a kind is called in a message."""
    return kind.__name__.lower()


def name_of(record: Any) -> str:
    """The name of a record: a node's is its host name, the cluster's is `default`."""
    if isinstance(record, Node):
        return record.description.hostname
    if isinstance(record, Task):
        return record.name
    if isinstance(record, Cluster):
        return "default"
    if isinstance(record, ExecRecord):
        return record.id
    if isinstance(record, RegistryCredential):
        return record.server
    name: str = record.spec.name
    return name


def named(records: Sequence[Named], name: str) -> list[Named]:
    """The records of that name, whatever its case; a task also answers to `service.slot`."""
    wanted = name.lower()
    return [record for record in records if wanted in _names(record)]


def _names(record: Any) -> tuple[str, ...]:
    name = name_of(record).lower()
    if isinstance(record, Task):
        return (name, name.rpartition(".")[0])
    return (name,)


def only(kind: type, reference: str, found: Sequence[Named]) -> Named:
    """The one record found for `reference`; raises NotFound or InvalidArgument."""
    if not found:
        raise NotFound(f"{word(kind)} {reference} not found")
    if len(found) > 1:
        raise InvalidArgument(
            f"{word(kind)} {reference} is ambiguous ({len(found)} matches found): "
            "use a longer part of the id"
        )
    return found[0]
