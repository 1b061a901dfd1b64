"""The two services of the CA. Certificates are registered in the state first, then handed out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import grpc

from certs import x509
from certs.authority import node_id_of
from manager.ca.policy import Grant, decide_join, decide_recovery, decide_renewal
from pyswarm.api.v1 import ca_pb2, ca_pb2_grpc
from pyswarm.errors import InvalidArgument, NotLeader
from pyswarm.model.cluster import RootCA
from pyswarm.model.node import Node
from pyswarm.model.states import Availability
from pyswarm.rpc import Access, caller, read_identity

NODE_CA_ACCESS: Final[Mapping[str, Access]] = {
    "/pyswarm.api.v1.NodeCA/RenewCertificate": Access.NODE,
}
"""The lines of `NodeCA` for the access table of the main listener."""


class CAState(Protocol):
    """What the CA needs of the managers' state."""

    @property
    def is_leader(self) -> bool:
        """Whether this manager may issue certificates."""
        ...

    @property
    def leader_address(self) -> str:
        """Main address "host:port" of the leader, or empty."""
        ...

    @property
    def cluster_id(self) -> str:
        """The swarm's id."""
        ...

    @property
    def certificate_life_seconds(self) -> float:
        """How long a new certificate lives."""
        ...

    def root(self) -> RootCA:
        """Root certificate, its key and the tokens."""
        ...

    def node(self, node_id: str) -> Node | None:
        """The node's record."""
        ...

    def is_removed(self, node_id: str) -> bool:
        """Whether the node was removed."""
        ...

    async def register(self, grant: Grant, serial: str) -> None:
        """Commit: a node of this id and role exists, and its latest certificate has `serial`.

        Creates the node's record where there is none. For a known node only the serial is
        written, and NotFound is raised if it has gone meanwhile (`grant.hostname` is empty then).
        """
        ...


class Authority:
    """Issues certificates on the leader; shared by both services."""

    def __init__(self, state: CAState, clock: Callable[[], float] = time.time) -> None:
        self.state = state
        self._clock = clock

    def require_leader(self) -> None:
        """Raise `NotLeader`, with the leader's address, on a follower."""
        if not self.state.is_leader:
            raise NotLeader(
                "this manager is not the leader, and the leader issues the certificates",
                self.state.leader_address,
            )

    async def issue(self, grant: Grant, request_pem: bytes) -> ca_pb2.IssuedCertificate:
        """Sign, commit, answer: no certificate leaves that the managers do not know of."""
        root = self.state.root()
        serial = int.from_bytes(os.urandom(x509.SERIAL_BYTES), "big") | 1
        certificate = x509.issue(
            root.certificate_pem,
            root.key_pem,
            request_pem,
            node_id=grant.node_id,
            role=grant.role,
            cluster_id=self.state.cluster_id,
            serial=serial,
            now=self._clock(),
            life_seconds=self.state.certificate_life_seconds,
        )
        await self.state.register(grant, f"{serial:x}")
        return ca_pb2.IssuedCertificate(
            certificate=certificate, root_certificate=root.certificate_pem
        )


class BootstrapServer(ca_pb2_grpc.BootstrapServicer):
    """For machines without a valid certificate; served by `rpc.bootstrap_server`."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    async def GetRootCertificate(
        self,
        request: ca_pb2.RootCertificateRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> ca_pb2.RootCertificate:
        """The root, which is public; any manager knows it."""
        return ca_pb2.RootCertificate(certificate=self._authority.state.root().certificate_pem)

    async def IssueCertificate(
        self,
        request: ca_pb2.IssueCertificateRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> ca_pb2.IssuedCertificate:
        """A certificate for a join token or an expired certificate."""
        self._authority.require_leader()
        proof = request.WhichOneof("proof")
        if proof == "token":
            grant = self._join(request)
        elif proof == "expired":
            grant = self._recover(request)
        else:
            raise InvalidArgument("a certificate request needs a join token")
        return await self._authority.issue(grant, request.request)

    def _join(self, request: ca_pb2.IssueCertificateRequest) -> Grant:
        state = self._authority.state
        node_id = node_id_of(request.request)
        known, removed = state.node(node_id), state.is_removed(node_id)
        grant = decide_join(state.root(), request.token, node_id, request.hostname, known, removed)
        try:
            return replace(grant, availability=Availability(request.availability))
        except ValueError as error:
            raise InvalidArgument(f"availability {request.availability} is not known") from error

    def _recover(self, request: ca_pb2.IssueCertificateRequest) -> Grant:
        state = self._authority.state
        shown = request.expired
        x509.request_key(request.request)
        x509.check_issued_by(shown.certificate, state.root().certificate_pem)
        x509.check_signature(shown.certificate, shown.signature, request.request)
        identity = read_identity(shown.certificate)
        known, removed = state.node(identity.node_id), state.is_removed(identity.node_id)
        return decide_recovery(identity, known, removed, state.cluster_id)


class NodeCAServer(ca_pb2_grpc.NodeCAServicer):
    """For members; served on the main listener behind the `Authorizer`."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    async def RenewCertificate(
        self,
        request: ca_pb2.RenewCertificateRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> ca_pb2.IssuedCertificate:
        """The caller's next certificate."""
        self._authority.require_leader()
        identity, state = caller(), self._authority.state
        node = state.node(identity.node_id)
        grant = decide_renewal(identity, node, state.is_removed(identity.node_id))
        return await self._authority.issue(grant, request.request)
