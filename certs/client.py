"""A node asks for certificates: the first with a join token, later ones with the last.

The first contact. A stranger's root is believed for its digest alone, which is in the token:

    joiner                                       bootstrap listener (main port + 1)
      │ TLS, any certificate ────────────────────▶ │   only to learn which one it shows
      │ TLS, that certificate: GetRoot ──────────▶ │   nothing of ours is sent
      │ SHA-256(root) = digest in the token?       │   no: stop here
      │ TLS, this root, name manager.role: Issue ▶ │   now the token may go out
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from certs import x509
from certs.tokens import parse_token, root_digest
from pyswarm.aio import Backoff
from pyswarm.api.v1 import ca_pb2, ca_pb2_grpc
from pyswarm.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotLeader,
    PermissionDenied,
    SwarmError,
    Unavailable,
)
from pyswarm.model.states import Availability
from pyswarm.rpc import (
    MANAGER,
    ChannelPool,
    Credentials,
    check_time,
    swarm_errors,
    trusting_channel,
)
from pyswarm.rpc.credentials import pem_of

CALL_SECONDS: Final = 10.0
CONTACT_SECONDS: Final = 5.0
_SMALL: Final = (("grpc.max_receive_message_length", 64 * 1024),)

Answer = TypeVar("Answer")
Clock = Callable[[], float]


def bootstrap_address(address: str) -> str:
    """Where the bootstrap listener of the manager at "host:port" is: one port further."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65535:
        raise InvalidArgument(f"{address!r} is no manager address: write host:port")
    return f"{host}:{int(port) + 1}"


async def join(
    addresses: Sequence[str],
    token: str,
    hostname: str,
    availability: Availability = Availability.ACTIVE,
    *,
    timeout_seconds: float = 60.0,
    clock: Clock = time.time,
) -> Credentials:
    """Become a node of the swarm whose managers are at `addresses` ("host:port", main ports).

    The certificate in the answer names the node's id, role and swarm. Raises `PermissionDenied`
    for a wrong token or a swarm that is not the token's, `Unavailable` where nobody answers.
    """
    expected = parse_token(token)
    key = x509.new_key()
    # One request for all tries: the CA derives the node's id from it, so a lost answer costs none.
    request = ca_pb2.IssueCertificateRequest(
        request=x509.new_request(key),
        token=token.strip(),
        hostname=hostname,
        availability=availability,
    )
    root = b""

    async def ask(address: str) -> Credentials:
        nonlocal root
        root = root or await fetch_root(address, expected.digest, clock)
        return await _issue(address, root, request, key, clock)

    return await _ask_leader(addresses, ask, timeout_seconds)


async def recover(
    addresses: Sequence[str],
    expired: Credentials,
    *,
    timeout_seconds: float = 60.0,
    clock: Clock = time.time,
) -> Credentials:
    """The next certificate of a node whose last one has expired, at the bootstrap listener."""
    key = x509.new_key()
    body = x509.new_request(key)
    shown = ca_pb2.ExpiredCertificate(
        certificate=expired.certificate_pem, signature=x509.sign(expired.key_pem, body)
    )
    request = ca_pb2.IssueCertificateRequest(request=body, expired=shown)

    async def ask(address: str) -> Credentials:
        return await _issue(address, expired.root_pem, request, key, clock)

    return await _ask_leader(addresses, ask, timeout_seconds)


def recover_alone(
    issue: Callable[[bytes], ca_pb2.IssuedCertificate],
    expired: Credentials,
    clock: Clock = time.time,
) -> Credentials:
    """The next certificate of a manager that signs for itself: `issue` answers its request."""
    key = x509.new_key()
    return _accept(issue(x509.new_request(key)), expired.root_pem, key, clock)


async def renew(
    pool: ChannelPool,
    addresses: Sequence[str],
    root_pem: bytes,
    *,
    timeout_seconds: float = 60.0,
    clock: Clock = time.time,
) -> Credentials:
    """The next certificate, with a new key, over mutual TLS with the one in `pool`."""
    key = x509.new_key()
    request = ca_pb2.RenewCertificateRequest(request=x509.new_request(key))

    async def ask(address: str) -> Credentials:
        stub = ca_pb2_grpc.NodeCAStub(pool.get(address))
        with swarm_errors(address):
            answer = await stub.RenewCertificate(request, timeout=CALL_SECONDS)
        return _accept(answer, root_pem, key, clock)

    return await _ask_leader(addresses, ask, timeout_seconds)


async def fetch_root(address: str, digest: str, clock: Clock = time.time) -> bytes:
    """The root certificate (PEM) of the swarm at "host:port", which has this digest.

    `PermissionDenied` where it has another one: the token is not of this swarm, or somebody
    stands between. Nothing of ours has been sent then.
    """
    target = bootstrap_address(address)
    shown = await _certificate_shown(target)
    name = x509.server_name(shown)
    check_time(pem_of(shown), clock(), f"the certificate of {target}")
    async with trusting_channel(target, pem_of(shown), name, _SMALL) as channel:
        stub = ca_pb2_grpc.BootstrapStub(channel)
        with swarm_errors(target):
            answer = await stub.GetRootCertificate(
                ca_pb2.RootCertificateRequest(), timeout=CALL_SECONDS
            )
    if root_digest(x509.to_der(answer.certificate)) != digest:
        raise PermissionDenied(
            f"{target} belongs to another swarm than the join token, or somebody poses as it: "
            "check the address and the token; nothing was sent"
        )
    return answer.certificate


async def _certificate_shown(target: str) -> bytes:
    # grpcio cannot connect without trusting somebody, so Python's ssl looks first.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    host, _, port = target.rpartition(":")
    try:
        async with asyncio.timeout(CONTACT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except TimeoutError as error:
        raise Unavailable(f"{target} did not answer within {CONTACT_SECONDS:g} s") from error
    except OSError as error:
        raise Unavailable(f"nobody answers at {target}: {error.strerror or error}") from error
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()
    assert certificate is not None, "a TLS server always shows a certificate"
    return certificate


async def _issue(
    address: str,
    root_pem: bytes,
    request: ca_pb2.IssueCertificateRequest,
    key_pem: bytes,
    clock: Clock,
) -> Credentials:
    check_time(x509.split(root_pem)[-1], clock(), "the swarm's root certificate")
    target = bootstrap_address(address)
    async with trusting_channel(target, root_pem, MANAGER, _SMALL) as channel:
        stub = ca_pb2_grpc.BootstrapStub(channel)
        with swarm_errors(target):
            answer = await stub.IssueCertificate(request, timeout=CALL_SECONDS)
    return _accept(answer, root_pem, key_pem, clock)


def _accept(
    answer: ca_pb2.IssuedCertificate, root_pem: bytes, key_pem: bytes, clock: Clock
) -> Credentials:
    # The manager who answers is one of the roots that we trust, so its word on roots counts; what
    # it issues must fit both what we trusted and what we shall trust.
    x509.check_issued_by(answer.certificate, root_pem)
    x509.check_issued_by(answer.certificate, answer.root_certificate)
    x509.check_pair(answer.certificate, key_pem)
    credentials = Credentials(answer.certificate, key_pem, answer.root_certificate)
    credentials.check_time(clock())
    return credentials


async def _ask_leader(
    addresses: Sequence[str],
    ask: Callable[[str], Awaitable[Answer]],
    timeout_seconds: float,
) -> Answer:
    """`ask` managers in turn until one answers; a follower's word for the leader goes first."""
    if not addresses:
        raise FailedPrecondition("no manager's address is known: give one to join")
    backoff = Backoff(first=0.2, most=5.0)
    last: SwarmError = Unavailable("no manager answered in time")
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                waiting, seen = deque(addresses), set[str]()
                while waiting:
                    address = waiting.popleft()
                    seen.add(address)
                    try:
                        return await ask(address)
                    except NotLeader as error:
                        last = error
                        if error.leader_address and error.leader_address not in seen:
                            waiting.appendleft(error.leader_address)
                    except SwarmError as error:
                        if not error.temporary:
                            raise
                        last = error
                await asyncio.sleep(backoff.next())
    except TimeoutError:
        raise last from None
