"""The history of a service: each change of its spec is a numbered record of its own, written once.

The service's record is rewritten all the time and keeps only the number. Of a service the last
`KEPT` revisions are stored; they have consecutive numbers, so none needs to be searched for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from manager.state import Transaction, View
from pyswarm.errors import NotFound
from pyswarm.model import Revision, Service

KEPT: Final = 10


def revision_id(service_id: str, number: int) -> str:
    """The id of a service's revision."""
    return f"{service_id}-{number}"


def put_service(tx: Transaction, new: Service, cause: str = "") -> Service:
    """Write a service, and a revision where its spec is another than before; the service as it
    was written. `cause` says in words why it changed."""
    old = tx.get(Service, new.id)
    if old is None or (old.spec is not new.spec and old.spec != new.spec):
        number = 1
        if old is not None:
            # A service of before there was a history: what it was is its first revision.
            if not old.revision:
                _put(tx, old, 1, "")
            number = max(old.revision, 1) + 1
        new = replace(new, revision=number)
        _put(tx, new, number, cause)
        _drop(tx, new.id, number - KEPT)
    tx.put(new)
    return new


def _put(tx: Transaction, service: Service, number: int, cause: str) -> None:
    tx.put(
        Revision(
            id=revision_id(service.id, number),
            service_id=service.id,
            number=number,
            spec=service.spec,
            cause=cause,
        )
    )


def _drop(tx: Transaction, service_id: str, number: int) -> None:
    if tx.get(Revision, revision_id(service_id, number)) is not None:
        tx.delete(Revision, revision_id(service_id, number))


def forget(tx: Transaction, service: Service) -> None:
    """Delete the history of a service that goes."""
    for revision in history(tx.view, service):
        tx.delete(Revision, revision.id)


def history(view: View, service: Service) -> list[Revision]:
    """The revisions that are kept, oldest first."""
    numbers = range(max(service.revision - KEPT, 0) + 1, service.revision + 1)
    found = (view.get(Revision, revision_id(service.id, number)) for number in numbers)
    return [revision for revision in found if revision is not None]


def require(view: View, service: Service, number: int) -> Revision:
    """One revision; raises NotFound with those that there are."""
    kept = history(view, service)
    for revision in kept:
        if revision.number == number:
            return revision
    known = ", ".join(str(revision.number) for revision in kept) or "none"
    raise NotFound(
        f"service {service.spec.name} has no revision {number}; kept are {known}: "
        "see 'pyswarm service history'"
    )
