"""Whose certificates count no more, though their time is not over."""

from __future__ import annotations

from collections.abc import Iterable

from certs.x509 import BACKDATE_SECONDS
from manager.state import Changed
from pyswarm.model import Cluster, Node
from pyswarm.model.identity import Identity


def demoted(node: Node | None, identity: Identity) -> bool:
    """Whether a manager's certificate was given before its bearer was demoted.

    Safe where the state lags: the certificate of a later promotion is later than any demotion that
    this state can know, so a manager that lags does not refuse the leader that brings it the news.
    """
    return node is not None and identity.valid_from + BACKDATE_SECONDS <= node.demoted_at


def refused_by(changes: Iterable[Changed]) -> set[str]:
    """The nodes that a commit has removed or demoted."""
    found: set[str] = set()
    for change in changes:
        old, new = change.old, change.new
        if isinstance(new, Cluster):
            before = old.removed_nodes if isinstance(old, Cluster) else {}
            found |= new.removed_nodes.keys() - before.keys()
        elif isinstance(new, Node) and isinstance(old, Node) and new.demoted_at > old.demoted_at:
            found.add(new.id)
    return found
