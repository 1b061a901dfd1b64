"""A small external CA: CFSSL's `sign` over HTTPS, for callers with a manager's certificate only."""

from __future__ import annotations

import json
import os
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


@dataclass
class Cfssl:
    """The CA; `requests` are the bodies that it was sent. A test may turn its knobs."""

    root_pem: bytes
    key_pem: bytes
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""
    subject: dict[str, str] = field(default_factory=dict)
    """What it writes into the subject in place of what it is asked for."""

    def sign(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        self.requests.append(body)
        if self.refusal:
            return {"success": False, "errors": [{"code": 1, "message": self.refusal}]}
        request = x509.load_pem_x509_csr(body["certificate_request"].encode())
        subject = request.subject
        if "subject" in body:
            wanted = {"CN": body["subject"]["CN"], **body["subject"]["names"][0], **self.subject}
            oids = {
                "O": NameOID.ORGANIZATION_NAME,
                "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
                "CN": NameOID.COMMON_NAME,
            }
            subject = x509.Name([x509.NameAttribute(oids[k], wanted[k]) for k in oids])
        hosts = [x509.DNSName(each) for each in body.get("hosts", [])]
        made = self._certificate(subject, request.public_key(), hosts, body.get("profile") == "CA")
        return {"success": True, "result": {"certificate": made.decode()}, "errors": []}

    def server(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The certificate of the CA's own web server."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cfssl")])
        here: list[Any] = [x509.IPAddress(ip_address("127.0.0.1"))]
        return self._certificate(name, key.public_key(), here, False)

    def _certificate(self, subject: x509.Name, key: Any, hosts: list[Any], ca: bool) -> bytes:
        root = x509.load_pem_x509_certificate(self.root_pem)
        private: Any = serialization.load_pem_private_key(self.key_pem, None)
        own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        known = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        limits = x509.BasicConstraints(ca, 0 if ca else None)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(limits, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(known, critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName(hosts)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(private, hashes.SHA256()).public_bytes(PEM)


@contextmanager
def cfssl(root_pem: bytes, key_pem: bytes, clients_pem: bytes = b"") -> Iterator[Cfssl]:
    """A CA of this root on loopback; it serves those whose certificate is of `clients_pem`, and
    everyone where that is empty."""
    authority = Cfssl(root_pem, key_pem)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """CFSSL's only verb here."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(authority.sign(json.loads(body))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *parts: Any) -> None:
            """Be quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pem")
        path.write_bytes(private + authority.server(key))
        context.load_cert_chain(os.fspath(path))
    if clients_pem:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients_pem.decode())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    authority.url = f"https://127.0.0.1:{server.server_address[1]}/api/v1/cfssl/sign"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
