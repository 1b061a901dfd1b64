"""The caller of an RPC, read from the certificate that TLS has verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from pyswarm.errors import Unauthenticated
from pyswarm.model.identity import UNITS, Identity
from pyswarm.rpc.tls import TLS_VERSION

_ROLES: Final = {unit: role for role, unit in UNITS.items()}
_caller: ContextVar[Identity | None] = ContextVar("pyswarm_caller", default=None)


def caller() -> Identity:
    """The node that made the RPC which runs now; raises `Unauthenticated` where there is none."""
    identity = _caller.get()
    if identity is None:
        raise Unauthenticated("this call needs a node's certificate: use the swarm's own port")
    return identity


def caller_or_none() -> Identity | None:
    """The node that made this RPC, or None on the local socket and outside of RPCs."""
    return _caller.get()


@lru_cache(maxsize=16384)
def read_identity(certificate_pem: bytes) -> Identity:
    """The identity in a certificate, which the caller has verified; `Unauthenticated` if none.

    Parsing costs some 50 us and a node shows the same certificate with each call, so results are
    kept; the bound is above the number of nodes that one manager serves.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        subject = certificate.subject
        node_id, unit, cluster_id = (
            str(subject.get_attributes_for_oid(oid)[0].value)
            for oid in (
                NameOID.COMMON_NAME,
                NameOID.ORGANIZATIONAL_UNIT_NAME,
                NameOID.ORGANIZATION_NAME,
            )
        )
        role = _ROLES[unit]
    except (ValueError, IndexError, KeyError) as error:
        raise Unauthenticated("the certificate shown is not one of a swarm node") from error
    serial = f"{certificate.serial_number:x}"
    return Identity(
        node_id=node_id,
        role=role,
        cluster_id=cluster_id,
        serial=serial,
        valid_from=certificate.not_valid_before_utc.timestamp(),
    )


def peer_identity(auth_context: Mapping[str, Iterable[bytes]]) -> Identity:
    """The identity of the peer of a TLS 1.3 connection, from `context.auth_context()`."""
    version = next(iter(auth_context.get("ssl_tls_version", ())), b"")
    if version != TLS_VERSION:
        raise Unauthenticated(
            f"the connection speaks {version.decode() or 'no TLS'}, and the swarm TLSv1.3 only"
        )
    certificate = next(iter(auth_context.get("x509_pem_cert", ())), b"")
    if not certificate:
        raise Unauthenticated("this call needs a node's certificate, and none was shown")
    return read_identity(certificate)
