"""What the certificate authority needs, read from the store and from raft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from manager.ca.policy import Grant
from manager.state.driver import Store
from manager.state.store import Transaction
from pyswarm.errors import NotFound, Unavailable
from pyswarm.model import (
    Cluster,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    RootCA,
)


class StoredCAState:
    """Implements `manager.ca.server.CAState`."""

    def __init__(
        self, store: Store, is_leader: Callable[[], bool], leader_address: Callable[[], str]
    ) -> None:
        self._store = store
        self._is_leader = is_leader
        self._leader_address = leader_address

    def _cluster(self) -> Cluster:
        cluster = self._store.view.cluster
        if cluster is None:
            raise Unavailable("this manager is still catching up with the others: try again")
        return cluster

    @property
    def is_leader(self) -> bool:
        """Whether this manager may issue certificates."""
        return self._is_leader()

    @property
    def leader_address(self) -> str:
        """The leader's main address, or empty."""
        return self._leader_address()

    @property
    def cluster_id(self) -> str:
        """The swarm's id."""
        return self._cluster().id

    @property
    def certificate_life_seconds(self) -> float:
        """How long a new certificate lives."""
        return self._cluster().spec.certificate_life_seconds

    def root(self) -> RootCA:
        """Root certificate, key and tokens."""
        return self._cluster().root_ca

    def node(self, node_id: str) -> Node | None:
        """The node's record."""
        return self._store.view.get(Node, node_id)

    def is_removed(self, node_id: str) -> bool:
        """Whether the node was removed from the swarm."""
        cluster = self._store.view.cluster
        return cluster is not None and node_id in cluster.removed_nodes

    async def register(self, grant: Grant, serial: str) -> None:
        """Commit the node, or its new serial."""
        ends_at = self._store.clock() + self.certificate_life_seconds

        def change(tx: Transaction) -> None:
            node = tx.get(Node, grant.node_id)
            if node is None and not grant.hostname:
                raise NotFound(f"node {grant.node_id} is not part of the swarm any more")
            if node is None:
                node = Node(
                    id=grant.node_id,
                    spec=NodeSpec(role=grant.role, availability=grant.availability),
                    role=grant.role,
                    description=NodeDescription(hostname=grant.hostname),
                    status=NodeStatus(state=NodeState.UNKNOWN, message="it has not come up yet"),
                )
            ends = max(node.certificates_end_at, ends_at)
            tx.put(replace(node, certificate_serial=serial, certificates_end_at=ends))

        await self._store.update(change)
