"""A node's key, certificate and trusted root, as bytes, and what grpcio makes of them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

import grpc
from cryptography import x509

from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model.identity import Identity
from pyswarm.rpc.identity import read_identity
from pyswarm.rpc.tls import require_tls_1_3


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node proves itself with (`certificate_pem`, `key_pem`) and whom it trusts."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    root_pem: bytes

    @property
    def identity(self) -> Identity:
        """Whom the certificate names."""
        return read_identity(self.certificate_pem)

    @property
    def validity(self) -> tuple[float, float]:
        """First and last second of the certificate's life, since the epoch."""
        return _validity(self.certificate_pem)

    def check_time(self, now: float) -> None:
        """Raise `FailedPrecondition` where the certificate is not valid at `now`."""
        check_time(self.certificate_pem, now, "this node's certificate")


Provider = Callable[[], Credentials]
"""Answers the credentials of now. Servers call it from grpcio's threads: it must only read."""


@lru_cache(maxsize=256)
def _validity(certificate_pem: bytes) -> tuple[float, float]:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidArgument("the certificate cannot be read") from error
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def check_time(certificate_pem: bytes, now: float, what: str) -> None:
    """Raise `FailedPrecondition`, with the times, where `what` is not valid at `now`.

    Both sides of a connection refuse such a certificate, but grpcio then says "Socket closed" and
    no more; so whoever dials looks first.
    """
    begins, ends = _validity(certificate_pem)
    clock = f"and this machine's clock says {_utc(now)}"
    if now < begins:
        raise FailedPrecondition(
            f"{what} is not valid before {_utc(begins)}, {clock}: set the clock"
        )
    if now > ends:
        raise FailedPrecondition(
            f"{what} expired at {_utc(ends)}, {clock}: set the clock if it is wrong, "
            "else renew the certificate or join the swarm again"
        )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    """Mutual TLS for a client."""
    require_tls_1_3()
    return grpc.ssl_channel_credentials(
        root_certificates=credentials.root_pem,
        private_key=credentials.key_pem,
        certificate_chain=credentials.certificate_pem,
    )


def trusting_credentials(trusted_pem: bytes) -> grpc.ChannelCredentials:
    """TLS for a client that shows no certificate and trusts exactly this one."""
    require_tls_1_3()
    return grpc.ssl_channel_credentials(root_certificates=trusted_pem)


def server_credentials(provider: Provider, *, mutual: bool) -> grpc.ServerCredentials:
    """TLS for a server that asks `provider` at each handshake, so a renewal needs no restart.

    With `mutual` a client must show a certificate of the root; without, it is not even asked.
    """
    require_tls_1_3()
    served = provider()

    def configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
        pair = (credentials.key_pem, credentials.certificate_pem)
        root = credentials.root_pem if mutual else None
        return grpc.ssl_server_certificate_configuration([pair], root)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        current = provider()
        if current == served:
            return None
        served = current
        return configuration(current)

    # None, for no change, is documented and missing in the stubs.
    return grpc.dynamic_ssl_server_credentials(
        configuration(served),
        fetch,  # type: ignore[arg-type]
        mutual,
    )


def pem_of(certificate_der: bytes) -> bytes:
    """The PEM form of a certificate in DER."""
    return ssl.DER_cert_to_PEM_cert(certificate_der).encode()
