"""What a registry may make this client do, and what not: against small servers on loopback."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.runtime.reference import Reference, parse
from agent.runtime.registry import MANIFEST_BYTES_MAX, Registry
from pyswarm.errors import InvalidArgument, NotFound, PermissionDenied, SwarmError, Unavailable

Answer = tuple[int, dict[str, str], bytes]
DATA = b"0123456789" * 1000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class Server:
    """Answers as `answer(path, authorization)` says; `asked` holds both of every request."""

    def __init__(self, port: int, asked: list[tuple[str, str]]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.asked = asked
        self.reference: Reference = parse(f"{self.address}/shop/web:1")


@contextmanager
def serving(answer: Callable[[str, str, str], Answer]) -> Iterator[Server]:
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            asked.append((self.path, authorization))
            status, headers, body = answer(self.path, authorization, self.headers["Host"])
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Server(server.server_address[1], asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def manifest(server: Server, target: str = "1") -> bytes:
    async def main() -> bytes:
        registry = Registry(())
        try:
            return (await registry.manifest(server.reference, target)).data
        finally:
            registry.close()

    return asyncio.run(main())


def blob(server: Server, size: int = len(DATA)) -> bytes:
    async def main() -> bytes:
        registry = Registry(())
        try:
            return b"".join([part async for part in registry.blob(server.reference, DIGEST, size)])
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
