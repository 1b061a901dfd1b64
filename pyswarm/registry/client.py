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
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from pyswarm.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SwarmError,
    Unavailable,
)
from pyswarm.model import Platform
from pyswarm.registry import documents
from pyswarm.registry.documents import CONFIG_BYTES_MAX, INDEX_TYPES, MANIFEST_TYPES
from pyswarm.registry.logins import Login
from pyswarm.registry.reference import Reference, is_digest

MANIFEST_BYTES_MAX: Final = 4 << 20
TIMEOUT_SECONDS: Final = 30.0
PART_BYTES: Final = 1 << 20
THREADS: Final = 6
REDIRECTS_MAX: Final = 5
CLIENT_ID: Final = "pyswarm"
_TOKEN_BYTES_MAX: Final = 1 << 20
_ACCEPT: Final = ", ".join(sorted(INDEX_TYPES | MANIFEST_TYPES))
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750, section 2.1
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_REDIRECTS: Final = frozenset([301, 302, 303, 307, 308])

CERTIFICATE_DIRECTORIES: Final = (Path("/etc/pyswarm/certs.d"), Path("/etc/docker/certs.d"))
"""Folders named HOST or HOST:PORT, with `*.crt` for the CAs of a registry, as in Docker."""

Result = TypeVar("Result")


@dataclass(slots=True)
class Access:
    """A login, or None for nobody, with what it has earned; made anew for each pull, so that
    nothing of it stays when the pull is over."""

    login: Login | None = None
    headers: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    """The Authorization header for each host and path."""


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
    """All registries. `certificates` are folders as in CERTIFICATE_DIRECTORIES."""

    def __init__(
        self,
        insecure_registries: Collection[str],
        certificates: Iterable[Path] = CERTIFICATE_DIRECTORIES,
    ) -> None:
        self._insecure = frozenset(insecure_registries)
        self._certificates = tuple(certificates)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="registry")

    async def manifest(self, reference: Reference, target: str, access: Access) -> Document:
        """The index or manifest of a tag or digest; a digest is compared."""
        path = f"/v2/{reference.path}/manifests/{target}"
        async with self._get(reference, path, {"Accept": _ACCEPT}, access) as response:
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

    async def resolve(
        self, reference: Reference, access: Access
    ) -> tuple[str, tuple[Platform, ...]]:
        """The digest that the reference stands for now, and the platforms that it is for."""
        name = str(reference)
        document = await self.manifest(reference, reference.target, access)
        kind = documents.media_type(name, document.data, document.media_type)
        if kind in INDEX_TYPES:
            return document.digest, documents.index_platforms(name, document.data)
        config = documents.parse_manifest(name, document.data).config
        parts = [p async for p in self.blob(reference, config.digest, config.size, access)]
        assert config.size <= CONFIG_BYTES_MAX, "the manifest was refused otherwise"
        platform = documents.config_platform(name, b"".join(parts))
        return document.digest, (platform,) if platform else ()

    async def login(self, server: str, login: Login) -> None:
        """Ask the registry whether it knows this user; raises PermissionDenied where it does not.

        One that asks nobody for a login takes every one, as with Docker.
        """
        try:
            async with self._get(_any_of(server), "/v2/", {}, Access(login)):
                return
        except PermissionDenied:
            why = f"the login of {login.user}: incorrect username or password"
            if login.identity_token:
                why = "this identity token: it is wrong or has expired"
            raise PermissionDenied(f"the registry {server} refuses {why}") from None
        except NotFound:
            raise InvalidArgument(f"{server} is no registry: it has nothing at /v2/") from None

    async def blob(
        self, reference: Reference, digest: str, size: int, access: Access
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob, at most as many as it must have; the receiver checks the digest."""
        path = f"/v2/{reference.path}/blobs/{digest}"
        left = size
        async with self._get(reference, path, {}, access) as response:
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
        self, reference: Reference, path: str, headers: Mapping[str, str], access: Access
    ) -> AsyncIterator[http.client.HTTPResponse]:
        call = _Call(
            reference=reference,
            access=access,
            insecure=is_insecure(reference.domain, self._insecure),
            certificates=tuple(each / reference.host for each in self._certificates),
        )
        try:
            yield await self._run(call.request, path, dict(headers))
        except (OSError, ValueError, http.client.HTTPException) as error:  # Value: a bad redirect
            reason = _reason(error)
            raise Unavailable(
                f"the registry {reference.domain} does not answer: {reason}"
            ) from None
        finally:
            # Also on cancellation: a closed socket ends the thread that reads from it.
            for connection in call.opened:
                _shut(connection)


@dataclass(slots=True, kw_only=True)
class _Call:
    """One request to a registry and what follows from it: challenges, redirects."""

    reference: Reference
    access: Access
    insecure: bool
    certificates: tuple[Path, ...]
    opened: list[http.client.HTTPConnection] = field(default_factory=list)

    def request(self, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """The answer, 200 and nothing else; blocks."""
        scheme = "http" if self.insecure else "https"
        url = f"{scheme}://{self.reference.host}{path}"
        scope = (self.reference.host, self.reference.path)
        for attempt in (1, 2):
            if header := self.access.headers.get(scope):
                headers["Authorization"] = header
            response = self._follow(url, headers)
            if response.status == 401 and attempt == 1:
                challenge = response.headers.get("WWW-Authenticate", "")
                self.access.headers[scope] = self._authorize(challenge)
                continue
            if response.status in (401, 403):
                raise self._refused()
            _check(response, self.reference)
            return response
        raise AssertionError("the second answer is returned or raises")

    def _refused(self) -> PermissionDenied:
        domain, what = self.reference.domain, self.reference.path or "anything"
        if self.access.login is None:
            return PermissionDenied(
                f"the registry {domain} lets nobody read {what} without a login, or has no such "
                "image"
            )
        who, why = self.access.login.user, "the login is wrong"
        if self.access.login.identity_token:
            who, why = "the owner of the identity token", "it is wrong or has expired"
        return PermissionDenied(
            f"the registry {domain} does not let {who} read {what}: {why}, or there is no such "
            "image for it"
        )

    def _authorize(self, challenge: str) -> str:
        """The Authorization header that a challenge asks for (RFC 6750, Docker token auth)."""
        login = self.access.login
        identity = login.identity_token if login else ""
        pair = f"{login.user}:{login.password}" if login and not identity else ""
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}" if pair else ""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() != "bearer":
            if identity:
                raise PermissionDenied(
                    f"the registry {self.reference.domain} has no token server: it wants a "
                    "password, and the login for it is an identity token"
                )
            if not basic:
                raise self._refused()
            return basic
        fields = dict(_PARAMETER.findall(rest))
        realm = fields.get("realm", "")
        if urlsplit(realm).scheme not in (("http", "https") if self.insecure else ("https",)):
            raise InvalidArgument(f"the registry {self.reference.domain} sent no usable realm")
        query = {"service": fields.get("service", "")}
        if self.reference.path:
            query["scope"] = f"repository:{self.reference.path}:pull"
        if identity:
            grant = {"grant_type": "refresh_token", "refresh_token": identity}
            answer = self._follow(realm, {}, urlencode({**query, **grant, "client_id": CLIENT_ID}))
        else:
            if login:
                query["account"] = login.user
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            answer = self._follow(url, {"Authorization": basic} if basic else {})
        # 400 is what OAuth 2 has for a token that is not valid any more (RFC 6749, section 5.2).
        if answer.status in (401, 403) or (identity and answer.status == 400):
            raise self._refused()
        _check(answer, self.reference)
        return f"Bearer {_token(answer, realm)}"

    def _follow(
        self, url: str, headers: Mapping[str, str], form: str | None = None
    ) -> http.client.HTTPResponse:
        """One request through redirects; a token is not carried to another host, and a form, in
        which there is one, not anywhere."""
        sent = dict(headers)
        method = "GET"
        if form is not None:
            method, sent["Content-Type"] = "POST", "application/x-www-form-urlencoded"
        first = urlsplit(url).netloc
        for _ in range(REDIRECTS_MAX):
            parts = urlsplit(url)
            connection: http.client.HTTPConnection
            if parts.scheme == "https":
                connection = http.client.HTTPSConnection(
                    parts.netloc, timeout=TIMEOUT_SECONDS, context=_tls(self.certificates)
                )
            elif parts.scheme == "http" and self.insecure:
                connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
            else:
                raise InvalidArgument(f"the registry leads to {url[:200]}, which is not HTTPS")
            self.opened.append(connection)
            if parts.netloc != first:
                sent.pop("Authorization", None)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target or "/", form, sent)
            response = connection.getresponse()
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or form is not None:
                return response
            url = urljoin(url, location)
        raise InvalidArgument(f"the registry leads in circles: {url[:200]}")


def _any_of(server: str) -> Reference:
    """The registry itself, none of its images."""
    return Reference(domain=server, path="", tag="latest")


def _token(answer: http.client.HTTPResponse, realm: str) -> str:
    try:
        fields = json.loads(answer.read(_TOKEN_BYTES_MAX))
        token = str(fields.get("token") or fields["access_token"])
    except (ValueError, LookupError, AttributeError):
        raise InvalidArgument(f"{realm[:200]} sent no token") from None
    # A line break would make http.client show the token in the text of its error.
    if not _TOKEN.fullmatch(token):
        raise InvalidArgument(f"{realm[:200]} sent no token")
    return token


def _tls(folders: Iterable[Path]) -> ssl.SSLContext:
    """The system's CAs, and those in the registry's folders."""
    context = ssl.create_default_context()
    for folder in folders:
        for path in sorted(folder.glob("*.crt")):
            context.load_verify_locations(path)
    return context


def _check(response: http.client.HTTPResponse, reference: Reference) -> None:
    """Raise the SwarmError that stands for a status other than 200."""
    status, registry = response.status, reference.domain
    if status == 200:
        return
    shown = str(reference)
    error: SwarmError
    if status == 404:
        error = NotFound(f"image {shown} does not exist in the registry {registry}")
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
