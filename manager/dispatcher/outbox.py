"""What one session must send next: compares the store with what its node was told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from manager.dispatcher.assignments import NodeAssignments, Sent, diff
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.model import EndpointSet
from pyswarm.model.endpoints import delta, same_head
from pyswarm.wire import to_message


@dataclass(slots=True)
class Outbox:
    """The news of one session, as messages. The first assignments are COMPLETE, later ones name
    the message that they follow, so that a lost one is noticed."""

    _sent: Sent = field(default_factory=Sent)
    _sequence: int = 0
    _endpoints: dict[str, EndpointSet] = field(default_factory=dict)

    def has_one_of(self, networks: Collection[str]) -> bool:
        """Whether the node knows one of these networks."""
        return not self._endpoints.keys().isdisjoint(networks)

    def assignments(self, wanted: NodeAssignments) -> dispatcher_pb2.SessionMessage | None:
        """The assignments that the node does not know; None where it knows all."""
        news = diff(self._sent, wanted)
        first = self._sequence == 0
        if not news and not first:
            return None
        kind = dispatcher_pb2.Assignments
        message = kind(
            kind=kind.COMPLETE if first else kind.INCREMENTAL,
            applies_to=self._sequence,
            results_in=self._sequence + 1,
            tasks=[to_message(task) for task in news.tasks],
            secrets=[to_message(secret) for secret in news.secrets],
            configs=[to_message(config) for config in news.configs],
            removed_tasks=news.removed_tasks,
            removed_secrets=news.removed_secrets,
            removed_configs=news.removed_configs,
            volumes=[to_message(volume) for volume in news.volumes],
            removed_volumes=news.removed_volumes,
            credentials=[to_message(each) for each in news.credentials],
            removed_credentials=news.removed_credentials,
        )
        self._sequence += 1
        return dispatcher_pb2.SessionMessage(assignments=message)

    def endpoints(self, wanted: Mapping[str, EndpointSet]) -> dispatcher_pb2.SessionMessage | None:
        """The endpoint sets that changed: a delta where the node has the set, else all of it."""
        complete, deltas = [], []
        for network_id in sorted(wanted):
            new, old = wanted[network_id], self._endpoints.get(network_id)
            if old is new:
                continue
            if old is None or not same_head(old, new):
                complete.append(to_message(new))
            elif old.version < new.version:
                deltas.append(to_message(delta(old, new)))
        removed = sorted(self._endpoints.keys() - wanted.keys())
        self._endpoints = dict(wanted)
        if not (complete or deltas or removed):
            return None
        return dispatcher_pb2.SessionMessage(
            endpoints=dispatcher_pb2.EndpointUpdate(
                complete=complete, deltas=deltas, removed=removed
            )
        )
