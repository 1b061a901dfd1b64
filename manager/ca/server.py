"""The two services of the CA. Certificates are registered in the state first, then handed out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import grpc

from certs import x509
from certs.authority import Issuer, issuer_of, node_id_of
from manager.ca.client import Signer, certificate_of
from manager.ca.policy import Grant, decide_join, decide_recovery, decide_renewal
from manager.ca.rotation import signing_for
from pyswarm.api.v1 import ca_pb2, ca_pb2_grpc
from pyswarm.errors import FailedPrecondition, InvalidArgument, NotLeader, PermissionDenied
from pyswarm.model.cluster import ExternalCA, RootCA
from pyswarm.model.node import Node
from pyswarm.model.states import Availability, NodeRole
from pyswarm.rpc import Access, caller, read_identity

log = logging.getLogger(__name__)

NODE_CA_ACCESS: Final[Mapping[str, Access]] = {
    "/pyswarm.api.v1.NodeCA/RenewCertificate": Access.NODE,
}
"""The lines of `NodeCA` for the access table of the main listener."""

ALONE_SECONDS: Final = 3600.0
"""The life of a certificate that a manager signs for itself; a leader renews it at once."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was signed: by the root with the digest `root`, until `ends_at`."""

    serial: str
    ends_at: float
    root: str


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

    @property
    def external_cas(self) -> tuple[ExternalCA, ...]:
        """Those who may sign instead."""
        ...

    async def register(self, grant: Grant, issued: Issued) -> None:
        """Commit: a node of this id and role exists, and this is its latest certificate.

        Creates the node's record where there is none. For a known node only the certificate is
        written, and NotFound is raised if it has gone meanwhile (`grant.hostname` is empty then);
        `Unavailable` where another root signs by now, so that this certificate would come too late.
        """
        ...


class Authority:
    """Issues certificates on the leader; shared by both services."""

    def __init__(
        self, state: CAState, signer: Signer, clock: Callable[[], float] = time.time
    ) -> None:
        self.state = state
        self._signer = signer
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
        issuer = issuer_of(root)
        external = signing_for(self.state.external_cas, issuer.digest)
        if external:
            certificate = await certificate_of(
                self._signer,
                external,
                issuer.certificate_pem,
                self.state.cluster_id,
                grant,
                request_pem,
            )
        elif issuer.key_pem:
            life = self.state.certificate_life_seconds
            certificate = self._sign(issuer, grant, request_pem, self._clock(), life)
        else:
            raise FailedPrecondition(
                "no external CA is set for the swarm's root, and only one has its key: "
                "use 'pyswarm swarm update --external-ca'"
            )
        serial = read_identity(certificate).serial
        issued = Issued(serial, x509.ends_at(certificate), issuer.digest)
        await self.state.register(grant, issued)
        return ca_pb2.IssuedCertificate(
            certificate=certificate + issuer.intermediate_pem, root_certificate=root.trusted_pem
        )

    def _sign(
        self, issuer: Issuer, grant: Grant, request_pem: bytes, now: float, life_seconds: float
    ) -> bytes:
        return x509.issue(
            issuer.certificate_pem,
            issuer.key_pem,
            request_pem,
            node_id=grant.node_id,
            role=grant.role,
            cluster_id=self.state.cluster_id,
            serial=int.from_bytes(os.urandom(x509.SERIAL_BYTES), "big") | 1,
            now=now,
            life_seconds=life_seconds,
        )

    def issue_alone(
        self, node_id: str, request_pem: bytes, since: float
    ) -> ca_pb2.IssuedCertificate:
        """A certificate of an hour for this manager itself, which nobody registers.

        For the day when all certificates have expired, so that no manager can reach another. It
        begins at `since`, the beginning of the expired one: if only this clock was wrong, it is
        valid when the clock is set.
        """
        root, node = self.state.root(), self.state.node(node_id)
        issuer = issuer_of(root)
        if node is None or self.state.is_removed(node_id) or node.role is not NodeRole.MANAGER:
            raise PermissionDenied(f"node {node_id} is not a manager of this swarm any more")
        if not issuer.key_pem:
            raise FailedPrecondition(
                "this node's certificate has expired, no manager answers, and only an external CA "
                "has the root's key: set the clock if it is wrong, else restore the swarm"
            )
        made = since + x509.BACKDATE_SECONDS
        life = self._clock() + ALONE_SECONDS - made
        grant = Grant(node_id, node.role)
        certificate = self._sign(issuer, grant, request_pem, made, life)
        log.warning("no manager answers: this one has signed its own certificate for an hour")
        return ca_pb2.IssuedCertificate(
            certificate=certificate + issuer.intermediate_pem, root_certificate=root.trusted_pem
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
        x509.check_issued_by(shown.certificate, state.root().trusted_pem)
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
