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

from manager.ca.cfssl import read_answer
from pyswarm.errors import SwarmError, Unavailable
from pyswarm.model.cluster import ExternalCA
from pyswarm.rpc import Credentials, Provider

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
    """Asks one external CA after the other; implements `Signer`."""

    def __init__(self, credentials: Provider) -> None:
        self._credentials = credentials

    async def sign(self, cas: Sequence[ExternalCA], body: bytes) -> bytes:
        """See `Signer`; raises the last one's `Unavailable` or `PermissionDenied`."""
        last: SwarmError = Unavailable("no external CA is known")
        for external in cas:
            try:
                return await asyncio.to_thread(_post, external, self._credentials(), body)
            except SwarmError as error:
                log.warning("%s", error.message)
                last = error
        raise last


def _post(external: ExternalCA, credentials: Credentials, body: bytes) -> bytes:
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


def _context(trusted_pem: bytes, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=trusted_pem.decode())
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
