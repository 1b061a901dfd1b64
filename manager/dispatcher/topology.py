"""The endpoint sets of all networks, kept beside the store and derived anew where it changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from manager.dispatcher.endpoints import derive
from manager.state.tables import View
from pyswarm.model import EndpointSet, Network, Node, Service, Task
from pyswarm.model.endpoints import digest


def touched_networks(changes: Iterable[tuple[object | None, object | None]]) -> set[str] | None:
    """The networks that (old, new) pairs concern; None: all of them."""
    networks: set[str] = set()
    for pair in changes:
        for record in pair:
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


@dataclass(slots=True)
class Topology:
    """The newest set of each network. A set whose content stays keeps its version, so that nobody
    is told that nothing happened."""

    sets: dict[str, EndpointSet] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def refresh(self, view: View, networks: set[str] | None) -> set[str]:
        """Derive `networks` (None: all) again; returns those whose content changed."""
        present = {network.id: network for network in view.list(Network)}
        wanted = present if networks is None else {n: present[n] for n in networks & set(present)}
        changed = set(self.sets) - set(present)
        for network_id in changed:
            del self.sets[network_id], self._digests[network_id]
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
            fingerprint = digest(new)
            if self._digests.get(network_id) != fingerprint:
                self._digests[network_id] = fingerprint
                self.sets[network_id] = replace(new, version=max(new.version, 1))
                changed.add(network_id)
        return changed
