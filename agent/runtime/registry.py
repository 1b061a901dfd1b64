"""Reads from registries: the OCI distribution specification 1.0, section "Pull".

The standard library's HTTP client in threads of its own: a pull is bound by network and disk, and
a registry that is slow must not hold a thread that others wait for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from agent.runtime.documents import INDEX_TYPES, MANIFEST_TYPES
from agent.runtime.reference import Reference, is_digest
from pyswarm.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SwarmError,
    Unavailable,
)

MANIFEST_BYTES_MAX: Final = 4 << 20
TIMEOUT_SECONDS: Final = 30.0
PART_BYTES: Final = 1 << 20
THREADS: Final = 6
REDIRECTS_MAX: Final = 5
_TOKEN_BYTES_MAX: Final = 1 << 20
_ACCEPT: Final = ", ".join(sorted(INDEX_TYPES | MANIFEST_TYPES))
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750, section 2.1
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_REDIRECTS: Final = frozenset([301, 302, 303, 307, 308])

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An index or a manifest as a registry sent it."""

    data: bytes
    digest: str
    media_type: str


def is_insecure(domain: str, insecure_registries: Collection[str]) -> bool:
    """Whether a registry speaks HTTP: those of the settings, by host or host and port, and those
    on this machine."""
    host, colon, port = domain.rpartition(":")
    if not colon or not port.isdecimal():
        host = domain
    if domain in insecure_registries or host in insecure_registries:
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Registry:
    """All registries; `credentials` answers (user, password) for a registry's name."""

    def __init__(
        self,
        insecure_registries: Collection[str],
        credentials: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._insecure = frozenset(insecure_registries)
        self._credentials = dict(credentials or {})
        self._tokens: dict[tuple[str, str], str] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")

    async def manifest(self, reference: Reference, target: str) -> Document:
        """The index or manifest of a tag or digest; a digest is compared."""
        path = f"/v2/{reference.path}/manifests/{target}"
        async with self._get(reference, path, {"Accept": _ACCEPT}) as response:
            data = await self._run(response.read, MANIFEST_BYTES_MAX + 1)
            kind = response.headers.get_content_type()
        if len(data) > MANIFEST_BYTES_MAX:
            raise InvalidArgument(f"the manifest of {reference} is too large")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if is_digest(target) and digest != target:
            raise InvalidArgument(
                f"the registry {reference.domain} sent another manifest than {target}"
            )
        return Document(data=data, digest=digest, media_type=kind)

    async def digest(self, reference: Reference) -> str:
        """The digest that the reference's tag stands for now."""
        path = f"/v2/{reference.path}/manifests/{reference.target}"
        async with self._get(reference, path, {"Accept": _ACCEPT}, method="HEAD") as response:
            digest = str(response.headers.get("Docker-Content-Digest", ""))
        if is_digest(digest):
            return digest
        # Registries may leave the header out.
        return (await self.manifest(reference, reference.target)).digest

    async def blob(
        self, reference: Reference, digest: str, size: int
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob, at most as many as it must have; the receiver checks the digest."""
        path = f"/v2/{reference.path}/blobs/{digest}"
        left = size
        async with self._get(reference, path, {}) as response:
            while left:
                part = await self._run(response.read, min(PART_BYTES, left))
                if not part:
                    raise Unavailable(f"the registry {reference.domain} broke off a download")
                left -= len(part)
                yield part

    def close(self) -> None:
        """Let threads that still wait for a registry end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ---- HTTP ----

    async def _run(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    @asynccontextmanager
    async def _get(
        self, reference: Reference, path: str, headers: Mapping[str, str], method: str = "GET"
    ) -> AsyncIterator[http.client.HTTPResponse]:
        opened: list[http.client.HTTPConnection] = []
        try:
            response = await self._run(
                self._request, reference, path, dict(headers), method, opened
            )
            yield response
        except (OSError, ValueError, http.client.HTTPException) as error:  # Value: a bad redirect
            reason = _reason(error)
            raise Unavailable(
                f"the registry {reference.domain} does not answer: {reason}"
            ) from None
        finally:
            # Also on cancellation: a closed socket ends the thread that reads from it.
            for connection in opened:
                _shut(connection)

    def _request(
        self,
        reference: Reference,
        path: str,
        headers: dict[str, str],
        method: str,
        opened: list[http.client.HTTPConnection],
    ) -> http.client.HTTPResponse:
        insecure = is_insecure(reference.domain, self._insecure)
        url = f"{'http' if insecure else 'https'}://{reference.host}{path}"
        scope = (reference.host, reference.path)
        for attempt in (1, 2):
            if token := self._tokens.get(scope):
                headers["Authorization"] = token
            response = _follow(url, headers, method, insecure, opened)
            if response.status == 401 and attempt == 1:
                challenge = response.headers.get("WWW-Authenticate", "")
                self._tokens[scope] = self._authorize(reference, challenge, insecure, opened)
                continue
            _check(response, reference)
            return response
        raise AssertionError("the second answer is returned or raises")

    def _authorize(
        self,
        reference: Reference,
        challenge: str,
        insecure: bool,
        opened: list[http.client.HTTPConnection],
    ) -> str:
        """The Authorization header that a challenge asks for (RFC 6750, Docker token auth)."""
        login = self._credentials.get(reference.domain)
        basic = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}" if login else ""
        scheme, _, rest = challenge.partition(" ")
        refused = PermissionDenied(
            f"the registry {reference.domain} lets nobody read {reference.path} without"
            " a login, or has no such image"
        )
        if scheme.lower() != "bearer":
            if not basic:
                raise refused
            return basic
        fields = dict(_PARAMETER.findall(rest))
        realm = fields.get("realm", "")
        if urlsplit(realm).scheme not in (("http", "https") if insecure else ("https",)):
            raise InvalidArgument(f"the registry {reference.domain} sent no usable realm")
        query = {"service": fields.get("service", "")}
        query["scope"] = f"repository:{reference.path}:pull"
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        answer = _follow(url, {"Authorization": basic} if basic else {}, "GET", insecure, opened)
        if answer.status in (401, 403):
            raise refused
        _check(answer, reference)
        try:
            fields = json.loads(answer.read(_TOKEN_BYTES_MAX))
            token = str(fields.get("token") or fields["access_token"])
        except (ValueError, LookupError, AttributeError):
            raise InvalidArgument(f"{realm[:200]} sent no token") from None
        # A line break would make http.client show the token in the text of its error.
        if not _TOKEN.fullmatch(token):
            raise InvalidArgument(f"{realm[:200]} sent no token")
        return f"Bearer {token}"


def _follow(
    url: str,
    headers: Mapping[str, str],
    method: str,
    insecure: bool,
    opened: list[http.client.HTTPConnection],
) -> http.client.HTTPResponse:
    """One request through redirects; a token is not carried to another host."""
    sent = dict(headers)
    first = urlsplit(url).netloc
    for _ in range(REDIRECTS_MAX):
        parts = urlsplit(url)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.netloc, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
            )
        elif parts.scheme == "http" and insecure:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
        else:
            raise InvalidArgument(f"the registry leads to {url[:200]}, which is not HTTPS")
        opened.append(connection)
        if parts.netloc != first:
            sent.pop("Authorization", None)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", headers=sent)
        response = connection.getresponse()
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or not location:
            return response
        url = urljoin(url, location)
    raise InvalidArgument(f"the registry leads in circles: {url[:200]}")


def _check(response: http.client.HTTPResponse, reference: Reference) -> None:
    """Raise the SwarmError that stands for a status other than 200."""
    status, registry = response.status, reference.domain
    if status == 200:
        return
    shown = str(reference)
    error: SwarmError
    if status == 404:
        error = NotFound(f"image {shown} does not exist in the registry {registry}")
    elif status in (401, 403):
        error = PermissionDenied(f"the registry {registry} does not let this node read {shown}")
    elif status == 429:
        error = ResourceExhausted(f"the registry {registry} gives no more for now: too many pulls")
    elif status >= 500:
        error = Unavailable(f"the registry {registry} is in trouble: it answers with {status}")
    else:
        error = InvalidArgument(f"the registry {registry} answers {shown} with {status}")
    raise error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return "it does not speak TLS; where that is meant, name it with --insecure-registry"
    if isinstance(error, TimeoutError):
        return f"nothing came for {TIMEOUT_SECONDS:.0f} s"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _shut(connection: http.client.HTTPConnection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
