"""What `--filter` and a request's filters mean, as predicates over records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyswarm.api.v1 import control_pb2
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    Config,
    Network,
    Node,
    NodeRole,
    Secret,
    Service,
    ServiceMode,
    Task,
    TaskState,
    UpdateState,
    Volume,
)

_DESIRED = {
    "running": lambda state: state <= TaskState.RUNNING,
    "accepted": lambda state: state <= TaskState.RUNNING,
    "ready": lambda state: state <= TaskState.RUNNING,
    "complete": lambda state: state == TaskState.COMPLETE,
    "shutdown": lambda state: state > TaskState.COMPLETE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Values in one list are alternatives; each list that is not empty must match."""

    ids: Sequence[str] = ()
    names: Sequence[str] = ()
    labels: Sequence[str] = ()
    node_labels: Sequence[str] = ()
    roles: Sequence[str] = ()
    modes: Sequence[str] = ()
    services: Sequence[str] = ()
    nodes: Sequence[str] = ()
    desired_states: Sequence[str] = ()
    drivers: Sequence[str] = ()
    memberships: Sequence[str] = ()
    update_states: Sequence[str] = ()

    def check(self) -> None:
        """Refuse words that no object can match."""
        for role in self.roles:
            if role not in ("manager", "worker"):
                raise InvalidArgument(f"Invalid role filter: '{role}', use manager or worker")
        for mode in self.modes:
            if mode not in [known.word for known in ServiceMode]:
                words = ", ".join(known.word for known in ServiceMode)
                raise InvalidArgument(f"Invalid mode filter: '{mode}', use one of {words}")
        for state in self.update_states:
            if state.upper() not in UpdateState.__members__:
                known_states = ", ".join(state.name.lower() for state in UpdateState)
                raise InvalidArgument(
                    f"Invalid update filter: '{state}', use one of {known_states}"
                )
        for state in self.desired_states:
            if state not in _DESIRED:
                raise InvalidArgument(
                    f"Invalid desired-state filter: '{state}', "
                    "use running, complete, shutdown or accepted"
                )

    def _id(self, value: str) -> bool:
        return not self.ids or any(value.startswith(wanted) for wanted in self.ids)

    def _name(self, value: str) -> bool:
        return not self.names or any(value.startswith(wanted) for wanted in self.names)

    def node(self, node: Node) -> bool:
        """Whether a node is wanted; `labels` are those of its engine."""
        return (
            self._id(node.id)
            and self._name(node.hostname)
            and has_labels(node.description.engine_labels, self.labels)
            and has_labels(node.spec.labels, self.node_labels)
            and (not self.roles or NodeRole(node.role).name.lower() in self.roles)
            and (not self.memberships or "accepted" in self.memberships)
        )

    def service(self, service: Service) -> bool:
        """Whether a service is wanted."""
        return (
            self._id(service.id)
            and self._name(service.spec.name)
            and has_labels(service.spec.labels, self.labels)
            and (not self.modes or service.spec.mode.word in self.modes)
            and (
                not self.update_states
                or service.update_status.state.name.lower() in self.update_states
            )
        )

    def task(self, task: Task) -> bool:
        """Whether a task is wanted; labels are those of its service."""
        return (
            self._id(task.id)
            and self._name(task.name)
            and has_labels(task.service_labels, self.labels)
            and (not self.services or task.service_id in self.services)
            and (not self.nodes or task.node_id in self.nodes)
            and (
                not self.desired_states
                or any(_DESIRED[state](task.desired_state) for state in self.desired_states)
            )
        )

    def network(self, network: Network) -> bool:
        """Whether a network is wanted; a name matches anywhere, as in Docker."""
        return (
            self._id(network.id)
            and (not self.names or any(name in network.spec.name for name in self.names))
            and has_labels(network.spec.labels, self.labels)
            and (not self.drivers or network.spec.driver in self.drivers)
        )

    def payload(self, item: Secret | Config) -> bool:
        """Whether a secret or config is wanted."""
        return (
            self._id(item.id)
            and self._name(item.spec.name)
            and has_labels(item.spec.labels, self.labels)
        )

    def volume(self, item: Volume) -> bool:
        """Whether a volume is wanted; a name matches anywhere, as in Docker."""
        return (
            self._id(item.id)
            and (not self.names or any(name in item.spec.name for name in self.names))
            and has_labels(item.spec.labels, self.labels)
            and (not self.drivers or item.spec.driver in self.drivers)
        )


def has_labels(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Whether all of `wanted` ("key" or "key=value") are there."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def filters_of(request: control_pb2.ListRequest) -> Filters:
    """The filters of a request; raises InvalidArgument."""
    fields = {name: tuple(getattr(request.filters, name)) for name in Filters.__slots__}
    filters = Filters(**fields)
    filters.check()
    return filters
