"""The certificate authority on the store: what it needs to know, and the rotation of the root."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace

from certs import x509
from certs.authority import begin_rotation, digest_of, finish_rotation, issuer_of
from manager.ca import rotation
from manager.ca.cfssl import cross_sign_request
from manager.ca.client import Signer
from manager.ca.policy import Grant
from manager.ca.server import Issued
from manager.planning import driver as planning
from manager.state import Changed
from manager.state.driver import Store
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.core import NEVER
from pyswarm.errors import NotFound, SequenceConflict, Unavailable
from pyswarm.model import (
    Cluster,
    ClusterSpec,
    ExternalCA,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    RootCA,
)
from pyswarm.model.ids import ID_BYTES

log = logging.getLogger(__name__)


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

    @property
    def external_cas(self) -> tuple[ExternalCA, ...]:
        """Those who may sign instead."""
        return self._cluster().spec.external_cas

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

    async def register(self, grant: Grant, issued: Issued) -> None:
        """Commit the node, or its new certificate."""

        def change(tx: Transaction) -> None:
            [cluster] = tx.view.list(Cluster)
            if issuer_of(cluster.root_ca).digest != issued.root:
                raise Unavailable("the swarm's root has changed meanwhile: try again")
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
            last = max(node.certificates_end_at, issued.ends_at)
            tx.put(replace(node, certificate_serial=issued.serial, certificates_end_at=last))

        await self._store.update(change)


class RootKeeper:
    """Begins rotations, on the leader."""

    def __init__(self, store: Store, signer: Signer) -> None:
        self._store = store
        self._signer = signer

    def settle(self, cluster: Cluster, spec: ClusterSpec) -> ClusterSpec:
        """See `rotation.settle`."""
        return rotation.settle(cluster, spec)

    async def rotate(
        self,
        certificate_pem: bytes,
        key_pem: bytes,
        external_cas: Iterable[ExternalCA],
        life_seconds: float,
    ) -> None:
        """Begin to rotate to this root, or to a new one of the swarm's own where it is empty.

        A life of 0 stays. `InvalidArgument` and `FailedPrecondition` say what is wrong.
        """
        [cluster] = self._store.view.list(Cluster)
        now = self._store.clock()
        if certificate_pem:
            certificate_pem = x509.check_root(certificate_pem, now)
        cas = rotation.checked(external_cas)
        rotation.check_rotation(cluster, certificate_pem, key_pem, cas)
        if not certificate_pem:
            key_pem = x509.new_key()
            certificate_pem = x509.new_root(key_pem, cluster.id, _serial(), now)
        elif key_pem:
            key_pem = x509.check_root_key(certificate_pem, key_pem)
        old = cluster.root_ca
        crossed = await self._cross_sign(cluster, certificate_pem, key_pem)

        def change(tx: Transaction) -> None:
            [current] = tx.view.list(Cluster)
            if current.root_ca.digest != old.digest:
                raise SequenceConflict("the root was rotated meanwhile: try again")
            # The old root's external CAs stay: a rotation may be taken back.
            kept = rotation.signing_for(current.spec.external_cas, old.digest)
            settings = replace(
                current.spec,
                external_cas=tuple(dict.fromkeys((*kept, *cas))),
                certificate_life_seconds=life_seconds or current.spec.certificate_life_seconds,
            )
            root = begin_rotation(current.root_ca, certificate_pem, key_pem, crossed)
            meta = replace(current.meta, updated_at=tx.now)
            tx.put(replace(current, root_ca=root, spec=settings, meta=meta))

        await self._store.update(change)

    async def _cross_sign(self, cluster: Cluster, certificate_pem: bytes, key_pem: bytes) -> bytes:
        old = cluster.root_ca
        if digest_of(certificate_pem) == old.digest:
            return b""
        if old.key_pem:
            now = self._store.clock()
            return x509.cross_sign(
                old.certificate_pem, old.key_pem, certificate_pem, _serial(), now
            )
        body = cross_sign_request(x509.root_request(certificate_pem, key_pem))
        cas = rotation.signing_for(cluster.spec.external_cas, old.digest)
        answer = await self._signer.sign(cas, body)
        return x509.check_cross_signed(answer, certificate_pem, old.certificate_pem)


class RotationEnd:
    """Ends a rotation once each node has its certificate of the new root; a `planning.Part`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def observe(self, changes: tuple[Changed, ...] | None) -> bool:
        """See `planning.Part`."""
        if changes is not None and not any(each.kind in (Cluster, Node) for each in changes):
            return False
        cluster = self._store.view.cluster
        return cluster is not None and cluster.root_ca.rotation is not None

    async def act(self) -> float:
        """See `planning.Part`."""
        if self._is_over(self._store.view):
            await self._store.update(self._end)
        return NEVER

    def _is_over(self, view: View) -> bool:
        return any(
            rotation.is_over(cluster.root_ca, view.list(Node)) for cluster in view.list(Cluster)
        )

    def _end(self, tx: Transaction) -> None:
        if not self._is_over(tx.view):
            return
        [cluster] = tx.view.list(Cluster)
        secrets = (os.urandom(ID_BYTES), os.urandom(ID_BYTES))
        root = finish_rotation(cluster.root_ca, secrets)
        cas = tuple(rotation.signing_for(cluster.spec.external_cas, root.digest))
        meta = replace(cluster.meta, updated_at=tx.now)
        spec = replace(cluster.spec, external_cas=cas)
        tx.put(replace(cluster, root_ca=root, spec=spec, meta=meta))
        log.info(
            "every node has a certificate of the new root %s: the old one is gone", root.digest
        )


async def run(store: Store) -> None:
    """End rotations until cancelled; to be run on the leader only."""
    part = RotationEnd(store)
    await planning.run("rotation of the root", store, part, kinds=(Cluster, Node))


def _serial() -> int:
    return int.from_bytes(os.urandom(x509.SERIAL_BYTES), "big") | 1
