"""Certificates as bytes: requests, roots, node certificates, and the checks on each.

Keys are ECDSA on P-256 (own roots and new nodes) or P-384 (accepted from others); a root that an
operator brings may also have P-521 or RSA. Everything here is a function of its arguments; only
`new_key` and a signature's own nonce draw on the system.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
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
ROOT_BYTES_MOST: Final = 16 * 1024
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_CA_CURVES: Final = (*_CURVES, ec.SECP521R1)
_RSA_BITS_LEAST: Final = 2048
_IMPORTED_LIFE_LEAST: Final = timedelta(days=365)
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

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


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
    """A self-signed root certificate, PEM, for 20 years; it may sign nodes, and the next root.

    Its name carries the serial number: two roots that are trusted together need two names.
    """
    key = _private_key(key_pem)
    subject = _name(f"{_ROOT_UNIT}-{serial:x}", _ROOT_UNIT, cluster_id)
    builder = _builder(subject, subject, key.public_key(), serial, now, ROOT_LIFE_SECONDS)
    return _sign(_as_authority(builder, path_length=1), key)


def cross_sign(
    root_pem: bytes, root_key_pem: bytes, new_root_pem: bytes, serial: int, now: float
) -> bytes:
    """The new root's name and key in a certificate that the root of now has signed, PEM.

    Sent along with a certificate of the new root it convinces those who know the old one only.
    """
    new, old = _certificate(new_root_pem), _certificate(root_pem)
    life = new.not_valid_after_utc.timestamp() - now
    key = new.public_key()
    assert isinstance(key, PublicKey), "check_root has looked at the key"
    builder = _issued_builder(new.subject, old, key, serial, now, life, _key_id(new))
    return _sign(_as_authority(builder, path_length=0), _private_key(root_key_pem))


def root_request(root_pem: bytes, key_pem: bytes) -> bytes:
    """A request (PKCS #10, PEM) for a certificate of a root's name and key."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_certificate(root_pem).subject)
    signed = request.sign(_private_key(key_pem), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def check_cross_signed(cross_signed_pem: bytes, new_root_pem: bytes, root_pem: bytes) -> bytes:
    """The certificate as PEM of its own; `PermissionDenied` unless it is `cross_sign`'s work."""
    made, new = _certificate(cross_signed_pem), _certificate(new_root_pem)
    check_issued_by(_pem(made), root_pem)
    same = made.subject == new.subject and made.public_key() == new.public_key()
    if not same or not _is_authority(made) or _key_id(made) != _key_id(new):
        raise PermissionDenied("the certificate is not the new root's, signed by the one of now")
    return _pem(made)


def check_root(root_pem: bytes, now: float) -> bytes:
    """A root that an operator brings, as PEM of its own; `InvalidArgument` says what is missing."""
    if len(root_pem) > ROOT_BYTES_MOST:
        raise InvalidArgument(f"the CA certificate is larger than {ROOT_BYTES_MOST} bytes")
    try:
        [root] = x509.load_pem_x509_certificates(root_pem)
        problem = _root_problem(root, datetime.fromtimestamp(now, UTC))
    except _UNREADABLE as error:
        raise InvalidArgument(
            "the CA certificate cannot be read: it must be one certificate, in PEM"
        ) from error
    if problem:
        raise InvalidArgument(f"the CA certificate {problem}")
    return _pem(root)


def check_root_key(root_pem: bytes, key_pem: bytes) -> bytes:
    """The root's key as PEM of our own; `InvalidArgument` unless it is the certificate's."""
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except TypeError as error:
        raise InvalidArgument("the CA key is encrypted: give it without a passphrase") from error
    except _UNREADABLE as error:
        raise InvalidArgument("the CA key cannot be read: it must be in PEM") from error
    if not isinstance(key, PrivateKey) or key.public_key() != _certificate(root_pem).public_key():
        raise InvalidArgument("the CA key does not belong to the CA certificate")
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


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
    """A node's certificate, PEM, for the key of a request. It does not outlive the root."""
    public = serialization.load_der_public_key(request_key(request_pem))
    assert isinstance(public, ec.EllipticCurvePublicKey), "request_key has checked it"
    issuer = _certificate(root_pem)
    subject = _name(node_id, UNITS[role], cluster_id)
    builder = _issued_builder(subject, issuer, public, serial, now, life_seconds)
    alternatives = [x509.DNSName(name) for name in names(node_id, role)]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    )
    return _sign(builder, _private_key(root_key_pem))


def check_issued(certificate_pem: bytes, request_pem: bytes, node_id: str, role: NodeRole) -> bytes:
    """What somebody else has issued for a request, as PEM of its own.

    `PermissionDenied` unless it is for the request's key, with the names of the node, and no CA's.
    The organization, which is the swarm, is for the caller to compare.
    """
    made = _certificate(certificate_pem)
    key = made.public_key()
    try:
        found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        shown = set(found.value.get_values_for_type(x509.DNSName))
        authority = _is_authority(made)
    except (*_UNREADABLE, x509.ExtensionNotFound):
        shown, authority = set(), False
    if not isinstance(key, ec.EllipticCurvePublicKey) or _public_der(key) != request_key(
        request_pem
    ):
        raise PermissionDenied("the certificate is for another key than the request's")
    if shown != set(names(node_id, role)) or authority:
        raise PermissionDenied("the certificate does not carry the names that were asked for")
    return _pem(made)


def check_issued_by(chain_pem: bytes, roots_pem: bytes) -> None:
    """`PermissionDenied` unless one of the roots has signed the first certificate of the chain,
    directly or through those that follow it. Says nothing of the time."""
    certificate, *others = _certificates(chain_pem)
    roots = _certificates(roots_pem)
    if any(_has_issued(root, certificate) for root in roots):
        return
    for other in others:
        trusted = any(_has_issued(root, other) for root in roots)
        if trusted and _is_authority(other) and _has_issued(other, certificate):
            return
    raise PermissionDenied("the certificate is not one of this swarm's root")


def issuing_root(chain_pem: bytes, roots_pem: bytes) -> bytes | None:
    """The newest of the roots (the last one) that has signed the certificate itself, or None."""
    certificate = _certificate(chain_pem)
    for root in reversed(_certificates(roots_pem)):
        if _has_issued(root, certificate):
            return _pem(root)
    return None


def split(bundle_pem: bytes) -> list[bytes]:
    """The certificates of a bundle, each as PEM of its own; `InvalidArgument` where it is none."""
    return [_pem(certificate) for certificate in _certificates(bundle_pem)]


def is_root(certificate_pem: bytes) -> bool:
    """Whether a certificate names itself as its issuer."""
    certificate = _certificate(certificate_pem)
    return certificate.issuer == certificate.subject


def ends_at(certificate_pem: bytes) -> float:
    """When the certificate ends, in seconds since the epoch."""
    return _certificate(certificate_pem).not_valid_after_utc.timestamp()


def check_pair(certificate_pem: bytes, key_pem: bytes) -> None:
    """`DataLoss` unless the private key is that of the certificate."""
    public = _certificate(certificate_pem).public_key()
    mine = _node_key(key_pem).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or _public_der(public) != _public_der(
        mine
    ):
        raise DataLoss("the node's key and certificate do not belong together")


def sign(key_pem: bytes, data: bytes) -> bytes:
    """ECDSA with SHA-256 over `data`."""
    return _node_key(key_pem).sign(data, ec.ECDSA(hashes.SHA256()))


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


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            certificate.public_key()  # it is read only when it is asked for
    except _UNREADABLE as error:
        raise InvalidArgument("the certificates cannot be read") from error
    return found


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    find = certificate.extensions.get_extension_for_class
    try:
        return find(x509.BasicConstraints).value.ca and find(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        # A CA without a list of usages may sign; one without constraints is none.
        return missing.oid == x509.KeyUsage.oid


def _root_problem(root: x509.Certificate, now: datetime) -> str:
    if not _is_authority(root):
        return "is not one of a CA: it may sign no certificates"
    if not _has_issued(root, root):
        return "is not a root: it must sign itself"
    if not _is_strong(root.public_key()):
        return "needs an ECDSA key, or RSA of 2048 bits or more"
    if root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0:
        return (
            "has path length 0, so that the swarm could never rotate it: "
            "it must allow one CA below itself"
        )
    if not _key_id(root):
        return "has no subject key identifier: make one with it"
    if root.not_valid_before_utc > now:
        return "is not valid yet"
    if root.not_valid_after_utc < now + _IMPORTED_LIFE_LEAST:
        return "ends in less than a year: use a fresh one"
    return ""


def _is_strong(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _RSA_BITS_LEAST
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CA_CURVES)


def _key_id(certificate: x509.Certificate) -> bytes:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return b""
    return found.value.digest


def _private_key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataLoss("the private key cannot be read") from error
    if not isinstance(key, PrivateKey):
        raise DataLoss("the private key is of no kind that the swarm uses")
    return key


def _node_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = _private_key(pem)
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
    key: PublicKey,
    serial: int,
    now: float,
    life_seconds: float,
    key_id: bytes = b"",
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key)
    made = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(made - timedelta(seconds=BACKDATE_SECONDS))
        .not_valid_after(made + timedelta(seconds=life_seconds))
        .add_extension(x509.SubjectKeyIdentifier(key_id) if key_id else own, critical=False)
    )


def _issued_builder(
    subject: x509.Name,
    issuer: x509.Certificate,
    key: PublicKey,
    serial: int,
    now: float,
    life_seconds: float,
    key_id: bytes = b"",
) -> x509.CertificateBuilder:
    life_seconds = min(life_seconds, issuer.not_valid_after_utc.timestamp() - int(now))
    builder = _builder(subject, issuer.subject, key, serial, now, life_seconds, key_id)
    # Verifiers find the right one of several CAs by this identifier.
    known = x509.AuthorityKeyIdentifier(_key_id(issuer), None, None)
    return builder.add_extension(known, critical=False)


def _as_authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    limits = x509.BasicConstraints(ca=True, path_length=path_length)
    builder = builder.add_extension(limits, critical=True)
    return builder.add_extension(_usage(signs_certificates=True), critical=True)


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


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
