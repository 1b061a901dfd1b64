"""Certificates as bytes: requests, roots, node certificates, and the checks on each.

Keys are ECDSA on P-256 (roots and new nodes) or P-384 (accepted from others). Everything here is
a function of its arguments; only `new_key` and a signature's own nonce draw on the system.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pyswarm.errors import DataLoss, InvalidArgument, PermissionDenied
from pyswarm.model.identity import UNITS, names
from pyswarm.model.states import NodeRole

ROOT_LIFE_SECONDS: Final = 20 * 365 * 24 * 3600.0
BACKDATE_SECONDS: Final = 3600.0
"""A certificate begins this long before it is made, for nodes whose clocks are behind."""
REQUEST_BYTES_MOST: Final = 8192
SERIAL_BYTES: Final = 19
"""Random bytes of a serial number: RFC 5280 allows 20 bytes with the sign."""
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_ROOT_UNIT: Final = "swarm-ca"
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes of strangers that it cannot make sense of."""


def new_key() -> bytes:
    """A private key on P-256, PEM (PKCS #8, in the clear: for 0600 files and sealed state)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def to_der(certificate_pem: bytes) -> bytes:
    """The DER form of a certificate; `InvalidArgument` where it is none."""
    return _certificate(certificate_pem).public_bytes(serialization.Encoding.DER)


def new_root(key_pem: bytes, cluster_id: str, serial: int, now: float) -> bytes:
    """A self-signed root certificate, PEM, for 20 years; it may sign nodes, but no other CA."""
    key = _private_key(key_pem)
    subject = _name(_ROOT_UNIT, _ROOT_UNIT, cluster_id)
    builder = _builder(subject, subject, key.public_key(), serial, now, ROOT_LIFE_SECONDS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _sign(builder, key)


def new_request(key_pem: bytes) -> bytes:
    """A request (PKCS #10, PEM) for a certificate of this key; it asks for nothing else."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(_private_key(key_pem), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )


def request_key(request_pem: bytes) -> bytes:
    """The public key of a request, DER, after all checks; `InvalidArgument` names the failed one.

    The signature shows that the sender has the private key. Subject and extensions are ignored.
    """
    if len(request_pem) > REQUEST_BYTES_MOST:
        raise InvalidArgument(f"the certificate request is larger than {REQUEST_BYTES_MOST} bytes")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        signed = request.is_signature_valid
    except _UNREADABLE as error:
        raise InvalidArgument("the certificate request cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise InvalidArgument("a certificate request needs an ECDSA key on P-256 or P-384")
    if not signed:
        raise InvalidArgument("the certificate request's signature is wrong")
    return _public_der(key)


def issue(
    root_pem: bytes,
    root_key_pem: bytes,
    request_pem: bytes,
    *,
    node_id: str,
    role: NodeRole,
    cluster_id: str,
    serial: int,
    now: float,
    life_seconds: float,
) -> bytes:
    """A node's certificate, PEM, for the key of a request."""
    public = serialization.load_der_public_key(request_key(request_pem))
    assert isinstance(public, ec.EllipticCurvePublicKey), "request_key has checked it"
    issuer = _certificate(root_pem)
    subject = _name(node_id, UNITS[role], cluster_id)
    builder = _builder(subject, issuer.subject, public, serial, now, life_seconds)
    alternatives = [x509.DNSName(name) for name in names(node_id, role)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    )
    return _sign(builder, _private_key(root_key_pem))


def check_issued_by(certificate_pem: bytes, root_pem: bytes) -> None:
    """`PermissionDenied` unless the root has signed the certificate. Says nothing of the time."""
    try:
        _certificate(certificate_pem).verify_directly_issued_by(_certificate(root_pem))
    except (*_UNREADABLE, InvalidSignature) as error:
        raise PermissionDenied("the certificate is not one of this swarm's root") from error


def check_pair(certificate_pem: bytes, key_pem: bytes) -> None:
    """`DataLoss` unless the private key is that of the certificate."""
    public = _certificate(certificate_pem).public_key()
    mine = _private_key(key_pem).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or _public_der(public) != _public_der(
        mine
    ):
        raise DataLoss("the node's key and certificate do not belong together")


def sign(key_pem: bytes, data: bytes) -> bytes:
    """ECDSA with SHA-256 over `data`."""
    return _private_key(key_pem).sign(data, ec.ECDSA(hashes.SHA256()))


def check_signature(certificate_pem: bytes, signature: bytes, data: bytes) -> None:
    """`PermissionDenied` unless the key of the certificate has signed `data`."""
    key = _certificate(certificate_pem).public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise PermissionDenied("the request is not signed by the certificate's key") from error


def server_name(certificate_der: bytes) -> str:
    """The first DNS name of a certificate; `InvalidArgument` where it has none."""
    try:
        extensions = x509.load_der_x509_certificate(certificate_der).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return found.value.get_values_for_type(x509.DNSName)[0]
    except (*_UNREADABLE, IndexError, x509.ExtensionNotFound) as error:
        raise InvalidArgument("the certificate names no server") from error


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.public_key()  # it is read only when it is asked for
    except _UNREADABLE as error:
        raise InvalidArgument("the certificate cannot be read") from error
    return certificate


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataLoss("the private key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DataLoss("the private key is not an ECDSA key")
    return key


def _public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _name(common_name: str, unit: str, organization: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    now: float,
    life_seconds: float,
) -> x509.CertificateBuilder:
    made = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(made - timedelta(seconds=BACKDATE_SECONDS))
        .not_valid_after(made + timedelta(seconds=life_seconds))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
