"""What a registry may make this client do, and what not: against small servers on loopback."""

import asyncio
import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pyswarm.errors import InvalidArgument, NotFound, PermissionDenied, SwarmError, Unavailable
from pyswarm.model import Platform
from pyswarm.registry.client import MANIFEST_BYTES_MAX, Access, Registry
from pyswarm.registry.logins import TOKEN_USER, Login
from pyswarm.registry.reference import Reference, parse

Answer = tuple[int, dict[str, str], bytes]
DATA = b"0123456789" * 1000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class Server:
    """Answers as `answer(path, authorization)` says; `asked` holds both of every request. What is
    posted to a path is `POST path?form`."""

    def __init__(self, port: int, asked: list[tuple[str, str]]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.asked = asked
        self.reference: Reference = parse(f"{self.address}/shop/web:1")


@contextmanager
def serving(
    answer: Callable[[str, str, str], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.reply(f"POST {self.path}?{form}")

        def do_GET(self) -> None:
            self.reply(self.path)

        def reply(self, path: str) -> None:
            authorization = self.headers.get("Authorization", "")
            asked.append((path, authorization))
            status, headers, body = answer(path, authorization, self.headers["Host"])
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Server(server.server_address[1], asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def manifest(server: Server, target: str = "1", login: Login | None = None) -> bytes:
    async def main() -> bytes:
        registry = Registry(())
        try:
            return (await registry.manifest(server.reference, target, Access(login))).data
        finally:
            registry.close()

    return asyncio.run(main())


def blob(server: Server, size: int = len(DATA)) -> bytes:
    async def main() -> bytes:
        registry = Registry(())
        try:
            return b"".join(
                [part async for part in registry.blob(server.reference, DIGEST, size, Access())]
            )
        finally:
            registry.close()

    return asyncio.run(main())


def test_an_anonymous_token_is_fetched_and_shown() -> None:
    def answer(path: str, authorization: str, host: str) -> Answer:
        if path.startswith("/token?"):
            return 200, {}, b'{"token": "abc"}'
        if authorization == "Bearer abc":
            return 200, {}, b"{}"
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{host}/token",service="s"'}, b""

    with serving(answer) as server:
        assert manifest(server) == b"{}"
    assert "scope=repository%3Ashop%2Fweb%3Apull" in server.asked[1][0]


def test_a_token_that_does_not_help_is_not_fetched_for_ever() -> None:
    def answer(path: str, authorization: str, host: str) -> Answer:
        if path.startswith("/token?"):
            return 200, {}, b'{"token": "abc"}'
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{host}/token"'}, b""

    with serving(answer) as server, pytest.raises(PermissionDenied):
        manifest(server)
    assert len(server.asked) == 3


def test_a_token_is_not_carried_to_another_host() -> None:
    with serving(lambda *_: (200, {}, DATA)) as storage:

        def answer(path: str, authorization: str, host: str) -> Answer:
            if path.startswith("/token?"):
                return 200, {}, b'{"token": "abc"}'
            if authorization != "Bearer abc":
                challenge = f'Bearer realm="http://{host}/token"'
                return 401, {"WWW-Authenticate": challenge}, b""
            return 307, {"Location": f"http://{storage.address}/there"}, b""

        with serving(answer) as server:
            assert blob(server) == DATA
    assert storage.asked == [("/there", "")]


@pytest.mark.parametrize("token", ['"a\\r\\nX: y"', '"secret words"', "{}", '""'])
def test_what_is_no_token_is_refused_and_not_repeated(token: str) -> None:
    def answer(path: str, _: str, host: str) -> Answer:
        if path.startswith("/token?"):
            return 200, {}, b'{"token": %s}' % token.encode()
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{host}/token"'}, b""

    with serving(answer) as server, pytest.raises(SwarmError) as caught:
        manifest(server)
    assert "secret" not in caught.value.message


def test_a_redirect_to_no_address_is_a_failure_of_the_registry() -> None:
    bad = {"Location": "http://[x/"}
    with serving(lambda *_: (302, bad, b"")) as server, pytest.raises(Unavailable):
        manifest(server)


def test_a_circle_of_redirects_ends() -> None:
    with serving(lambda path, *_: (302, {"Location": path}, b"")) as server:
        with pytest.raises(SwarmError, match="circle"):
            manifest(server)
        assert len(server.asked) < 10


def test_a_manifest_is_held_against_its_digest_and_its_bound() -> None:
    with serving(lambda *_: (200, {}, b"{}")) as server, pytest.raises(SwarmError):
        manifest(server, DIGEST)
    huge = b"x" * (MANIFEST_BYTES_MAX + 1)
    with serving(lambda *_: (200, {}, huge)) as server, pytest.raises(InvalidArgument):
        manifest(server)


def test_a_blob_that_breaks_off_can_be_tried_again() -> None:
    with serving(lambda *_: (200, {}, DATA[:-1])) as server, pytest.raises(Unavailable):
        blob(server)


def test_not_more_than_the_size_of_a_blob_is_read() -> None:
    with serving(lambda *_: (200, {}, DATA * 2)) as server:
        try:
            assert len(blob(server)) <= len(DATA)
        except SwarmError:
            return


def test_an_image_that_is_missing_is_named() -> None:
    with serving(lambda *_: (404, {}, b"")) as server, pytest.raises(NotFound) as caught:
        manifest(server)
    address = server.address
    assert caught.value.message == (
        f"image {address}/shop/web:1 does not exist in the registry {address}"
    )


def test_a_registry_in_trouble_or_away_can_be_tried_again() -> None:
    with serving(lambda *_: (503, {}, b"")) as server, pytest.raises(Unavailable):
        manifest(server)
    with pytest.raises(Unavailable, match=f"the registry {server.address} does not answer"):
        manifest(server)


PAIR = Login(user="ann", password="s3cret:word")
BASIC = "Basic " + base64.b64encode(b"ann:s3cret:word").decode()


def login(server: Server, who: Login = PAIR) -> None:
    async def main() -> None:
        registry = Registry(())
        try:
            await registry.login(server.address, who)
        finally:
            registry.close()

    asyncio.run(main())


def basic(path: str, authorization: str, host: str) -> Answer:
    """A registry with htpasswd: everything needs the one login."""
    if authorization == BASIC:
        return 200, {}, b"{}"
    return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""


def token_server(path: str, authorization: str, host: str) -> Answer:
    """A registry that sends everybody to its token server, which knows one login."""
    if path.startswith("/token?"):
        return (200, {}, b'{"access_token": "abc"}') if authorization == BASIC else (401, {}, b"")
    if authorization == "Bearer abc":
        return 200, {}, b"{}"
    challenge = f'Bearer realm="http://{host}/token",service="shop registry"'
    return 401, {"WWW-Authenticate": challenge}, b""


@pytest.mark.parametrize("registry", [basic, token_server])
def test_a_login_opens_what_is_closed_to_others(registry: Callable[..., Answer]) -> None:
    with serving(registry) as server:
        assert manifest(server, login=PAIR) == b"{}"
        with pytest.raises(PermissionDenied, match="without a login"):
            manifest(server)
        with pytest.raises(PermissionDenied, match="does not let bob") as caught:
            manifest(server, login=Login(user="bob", password="hush"))
    assert "hush" not in caught.value.message


@pytest.mark.parametrize("registry", [basic, token_server])
def test_a_registry_is_asked_whether_a_login_is_right(registry: Callable[..., Answer]) -> None:
    with serving(registry) as server:
        login(server)
        with pytest.raises(PermissionDenied, match="incorrect username or password"):
            login(server, Login(user="ann", password="wrong"))


def test_the_token_server_hears_who_wants_what() -> None:
    with serving(token_server) as server:
        manifest(server, login=PAIR)
    token = server.asked[1][0]
    assert "account=ann" in token
    assert "scope=repository%3Ashop%2Fweb%3Apull" in token
    assert "service=shop+registry" in token


TOKEN = Login(user=TOKEN_USER, password="refresh/me")


def oauth_server(path: str, authorization: str, host: str) -> Answer:
    """A registry whose token server knows one identity token, which it renews each time."""
    if path.startswith("POST /token?"):
        form = dict(parse_qsl(path.partition("?")[2]))
        assert (form["grant_type"], form["service"]) == ("refresh_token", "shop")
        if form["refresh_token"] != TOKEN.password:
            return 400, {}, b'{"error": "invalid_grant"}'
        return 200, {}, b'{"access_token": "abc", "refresh_token": "other", "expires_in": 300}'
    if authorization == "Bearer abc":
        return 200, {}, b"{}"
    challenge = f'Bearer realm="http://{host}/token",service="shop"'
    return 401, {"WWW-Authenticate": challenge}, b""


def test_an_identity_token_buys_a_token_for_each_pull() -> None:
    with serving(oauth_server) as server:
        login(server, TOKEN)
        assert manifest(server, login=TOKEN) == b"{}"
        (_, first), (bought, nobody), (_, second) = server.asked[-3:]
    assert (first, nobody, second) == ("", "", "Bearer abc")
    form = dict(parse_qsl(bought.partition("?")[2]))
    assert form["scope"] == "repository:shop/web:pull"
    assert form["client_id"] == "pyswarm"


def test_an_identity_token_that_is_not_valid_any_more_is_said_to_be_so() -> None:
    old = Login(user=TOKEN_USER, password="expired")
    with serving(oauth_server) as server:
        with pytest.raises(PermissionDenied, match="refuses this identity token"):
            login(server, old)
        with pytest.raises(PermissionDenied, match="owner of the identity token"):
            manifest(server, login=old)
    with serving(basic) as server, pytest.raises(PermissionDenied, match="wants a password"):
        manifest(server, login=TOKEN)


def test_an_identity_token_is_posted_to_nobody_else() -> None:
    with serving(lambda *_: (200, {}, b'{"access_token": "abc"}')) as thief:

        def answer(path: str, authorization: str, host: str) -> Answer:
            if path.startswith("POST"):
                return 307, {"Location": f"http://{thief.address}/token"}, b""
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{host}/token"'}, b""

        with serving(answer) as server, pytest.raises(SwarmError) as caught:
            manifest(server, login=TOKEN)
    assert thief.asked == []
    assert TOKEN.password not in caught.value.message


def test_what_is_no_registry_takes_no_login() -> None:
    with serving(lambda *_: (404, {}, b"")) as server, pytest.raises(InvalidArgument):
        login(server)


def resolve(server: Server) -> tuple[str, tuple[Platform, ...]]:
    async def main() -> tuple[str, tuple[Platform, ...]]:
        registry = Registry(())
        try:
            return await registry.resolve(server.reference, Access())
        finally:
            registry.close()

    return asyncio.run(main())


def test_an_index_tells_its_digest_and_its_platforms() -> None:
    platforms = [("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown")]
    index = json.dumps(
        {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"platform": {"os": o, "architecture": a}} for o, a in platforms],
        }
    ).encode()
    with serving(lambda *_: (200, {}, index)) as server:
        digest, found = resolve(server)
    assert digest == f"sha256:{hashlib.sha256(index).hexdigest()}"
    assert found == tuple(Platform(os=o, architecture=a) for o, a in platforms[:2])


def test_a_single_manifest_is_for_the_platform_of_its_configuration() -> None:
    config = b'{"os": "linux", "architecture": "arm64"}'
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
        "size": len(config),
    }
    body = json.dumps({"schemaVersion": 2, "config": described, "layers": []}).encode()
    with serving(lambda path, *_: (200, {}, config if "/blobs/" in path else body)) as server:
        _, found = resolve(server)
    assert found == (Platform(os="linux", architecture="arm64"),)


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    found = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, SHA256())
    )
    kinds = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(found.public_bytes(Encoding.PEM) + key.private_bytes(*kinds))
    (folder / "ca.crt").write_bytes(found.public_bytes(Encoding.PEM))
    return path


def test_https_is_the_rule_and_a_registrys_own_ca_lies_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyswarm.registry.client.is_insecure", lambda *_: False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    async def read(server: Server, folders: tuple[Path, ...]) -> bytes:
        registry = Registry((), folders)
        try:
            return (await registry.manifest(server.reference, "1", Access())).data
        finally:
            registry.close()

    with serving(lambda *_: (200, {}, b"{}"), context) as server:
        with pytest.raises(Unavailable, match="certificate"):
            asyncio.run(read(server, ()))
        folder = tmp_path / "certs.d" / server.address
        folder.mkdir(parents=True)
        (tmp_path / "ca.crt").rename(folder / "ca.crt")
        assert asyncio.run(read(server, (tmp_path / "certs.d",))) == b"{}"
    plain = serving(lambda *_: (200, {}, b"{}"))
    with plain as server, pytest.raises(Unavailable, match="--insecure-registry"):
        asyncio.run(read(server, ()))
