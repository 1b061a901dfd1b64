"""A token server of a registry: it changes one identity token into tokens for pulls, and knows
nothing else. OAuth 2 (RFC 6749), and the tokens of the distribution project (JWT, ES256)."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from certs.x509 import new_key, new_root

ISSUER: Final = "token-server"
SERVICE: Final = "lab"
LIFE_SECONDS: Final = 60


@dataclass
class TokenServer:
    """`root_pem` is the certificate by which a registry knows the tokens, `port` where it answers,
    `asked` the forms that it was sent; a test may change the identity token."""

    identity_token: str
    root_pem: bytes
    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)

    def is_right(self, form: dict[str, str]) -> bool:
        """Whether a form has the identity token."""
        self.asked.append(form)
        grant = form.get("grant_type"), form.get("refresh_token")
        return grant == ("refresh_token", self.identity_token)


@contextmanager
def token_server(address: str, identity_token: str) -> Iterator[TokenServer]:
    """Serve at an address until the block ends."""
    key_pem, now = new_key(), time.time()
    root_pem = new_root(key_pem, ISSUER, 1, now)
    key: Any = load_pem_private_key(key_pem, None)
    certificate = x509.load_pem_x509_certificate(root_pem).public_bytes(Encoding.DER)
    known = TokenServer(identity_token, root_pem)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Change an identity token, or refuse it as OAuth 2 does."""
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = dict(parse_qsl(body))
            if known.is_right(form):
                self.answer(200, {"access_token": token(key, certificate, form)})
            else:
                self.answer(400, {"error": "invalid_grant"})

        def do_GET(self) -> None:
            """Nobody gets anything for a password, or for nothing."""
            self.answer(401, {})

        def answer(self, status: int, value: dict[str, Any]) -> None:
            """Send JSON."""
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *parts: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer((address, 0), Handler)
    known.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token(key: ec.EllipticCurvePrivateKey, certificate: bytes, form: dict[str, str]) -> str:
    """A signed token for what the form asks for."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "",
        "aud": form["service"],
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + LIFE_SECONDS,
        "jti": secrets.token_hex(8),
        "access": [],
    }
    if "scope" in form:
        kind, name, actions = form["scope"].split(":")
        claims["access"] = [{"type": kind, "name": name, "actions": actions.split(",")}]
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
    signed = ".".join(_part(json.dumps(each).encode()) for each in (header, claims))
    signature = key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    numbers = utils.decode_dss_signature(signature)
    raw = b"".join(each.to_bytes(32, "big") for each in numbers)
    return f"{signed}.{_part(raw)}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
