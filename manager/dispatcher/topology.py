"""The endpoint sets of all networks, kept beside the store and derived anew where it changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from manager.dispatcher.endpoints import derive, is_reachable
from manager.state.tables import View
from pyswarm.model import EndpointSet, Network, Node, Service, Task, TaskState


def touched_networks(changes: Iterable[tuple[object | None, object | None]]) -> set[str] | None:
    """The networks in whose sets (old, new) pairs may show; None: all of them."""
    networks: set[str] = set()
    for old, new in changes:
        if _shown(old) == _shown(new):
            continue
        for record in (old, new):
            if isinstance(record, Task):
                networks |= {a.network_id for a in record.networks}
            elif isinstance(record, Service):
                networks |= {v.network_id for v in record.endpoint.virtual_ips}
                networks |= {a.target for a in record.spec.task.networks}
            elif isinstance(record, Network):
                networks.add(record.id)
            elif isinstance(record, Node):
                return None
    return networks


def _shown(record: object | None) -> Any:
    """What `derive` reads of a record: most changes, as those on the way to a start, are none of
    it, and a network with many tasks costs time."""
    if isinstance(record, Task):
        if not is_reachable(record):
            return None
        status = record.status
        health = status.health.state if status.health is not None else None
        running = status.state == TaskState.RUNNING
        return (record.node_id, record.networks, record.is_wanted, running, health)
    if isinstance(record, Service):
        return (record.spec.name, record.spec.task.networks, record.endpoint)
    if isinstance(record, Node):
        return (record.status.state, record.status.address, record.index)
    return record


@dataclass(slots=True)
class Topology:
    """The newest set of each network. A set whose content stays keeps its version, so that nobody
    is told that nothing happened."""

    sets: dict[str, EndpointSet] = field(default_factory=dict)

    def refresh(self, view: View, networks: set[str] | None) -> set[str]:
        """Derive `networks` (None: all) again; returns those whose content changed."""
        if networks is not None and not networks:
            return set()
        present = {network.id: network for network in view.list(Network)}
        wanted = present if networks is None else {n: present[n] for n in networks & set(present)}
        changed = set(self.sets) - set(present)
        for network_id in changed:
            del self.sets[network_id]
        if not wanted:
            return changed
        derived = derive(
            wanted.values(),
            view.list(Task),
            view.list(Service),
            view.list(Node),
            view.version,
        )
        for network_id, new in derived.items():
            old = self.sets.get(network_id)
            if old is None or replace(new, version=old.version) != old:
                self.sets[network_id] = replace(new, version=max(new.version, 1))
                changed.add(network_id)
        return changed
