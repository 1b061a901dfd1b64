"""Sign requests to external CAs: HTTPS, and the manager shows its own certificate."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol
from urllib.parse import urlsplit

from certs import x509
from manager.ca.cfssl import node_request, read_answer
from manager.ca.policy import Grant
from pyswarm.errors import PermissionDenied, SwarmError, Unavailable
from pyswarm.model.cluster import ExternalCA
from pyswarm.rpc import Credentials, Provider, read_identity

log = logging.getLogger(__name__)

SECONDS: Final = 5.0
"""What one CA may take, as in Docker Swarm; a joiner waits for it."""
ANSWER_BYTES_MOST: Final = 64 * 1024


class Signer(Protocol):
    """Somebody who answers sign requests."""

    async def sign(self, cas: Sequence[ExternalCA], body: bytes) -> bytes:
        """The certificate, PEM, from the first of `cas` that gives one."""
        ...


class ExternalSigner:
    """Asks one external CA after the other; implements `Signer`. Without `credentials` it shows no
    certificate: the first manager of a swarm has none yet."""

    def __init__(self, credentials: Provider | None) -> None:
        self._credentials = credentials

    async def sign(self, cas: Sequence[ExternalCA], body: bytes) -> bytes:
        """See `Signer`; raises the last one's `Unavailable` or `PermissionDenied`."""
        last: SwarmError = Unavailable("no external CA is known")
        shown = self._credentials() if self._credentials is not None else None
        for external in cas:
            try:
                return await asyncio.to_thread(_post, external, shown, body)
            except SwarmError as error:
                log.warning("%s", error.message)
                last = error
        raise last


async def certificate_of(
    signer: Signer,
    cas: Sequence[ExternalCA],
    root_pem: bytes,
    cluster_id: str,
    grant: Grant,
    request_pem: bytes,
) -> bytes:
    """The certificate that external CAs of this root make for a node, PEM.

    `PermissionDenied` where it is not exactly what was asked for.
    """
    x509.request_key(request_pem)
    body = node_request(request_pem, grant.node_id, grant.role, cluster_id)
    made = x509.check_issued(await signer.sign(cas, body), request_pem, grant.node_id, grant.role)
    x509.check_issued_by(made, root_pem)
    got = read_identity(made)
    if (got.node_id, got.role, got.cluster_id) != (grant.node_id, grant.role, cluster_id):
        raise PermissionDenied(
            "the external CA did not put the node's id, role and swarm into the certificate"
        )
    return made


def _post(external: ExternalCA, credentials: Credentials | None, body: bytes) -> bytes:
    parts = urlsplit(external.url)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    connection: http.client.HTTPSConnection | None = None
    try:
        connection = http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=SECONDS,
            context=_context(external.certificate_pem, credentials),
        )
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MOST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the external CA at {external.url} does not answer: {error}") from error
    finally:
        if connection is not None:
            connection.close()
    if len(answer) > ANSWER_BYTES_MOST:
        raise Unavailable(f"the external CA at {external.url} answers without end")
    return read_answer(external.url, response.status, answer)


def _context(trusted_pem: bytes, credentials: Credentials | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=trusted_pem.decode())
    if credentials is not None:
        with _in_memory(credentials.key_pem + credentials.certificate_pem) as path:
            context.load_cert_chain(path)
    return context


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path for Python's ssl, which takes keys from files only; it never lies on a disk."""
    descriptor = os.memfd_create("pyswarm-key", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
