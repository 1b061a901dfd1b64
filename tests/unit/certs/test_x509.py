"""Certificates say who, and the checks refuse everything else."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs import x509
from pyswarm.errors import DataLoss, InvalidArgument, PermissionDenied
from pyswarm.model.states import NodeRole
from pyswarm.testing.trust import Trust

NOW = 1_800_000_000.0
PEM = serialization.Encoding.PEM


@pytest.fixture(scope="module")
def trust():
    return Trust("swarm1", now=NOW)


def issued(trust, **changes):
    key = x509.new_key()
    arguments = {
        "node_id": "n1",
        "role": NodeRole.MANAGER,
        "cluster_id": "swarm1",
        "serial": 4711,
        "now": NOW,
        "life_seconds": 7200.0,
    } | changes
    pem = x509.issue(
        trust.root.certificate_pem, trust.root.key_pem, x509.new_request(key), **arguments
    )
    return library.load_pem_x509_certificate(pem)


def request_of(key, algorithm):
    name = library.Name([library.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    builder = library.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, algorithm).public_bytes(PEM)


def test_the_root_signs_itself_on_p_256_for_20_years(trust):
    root = library.load_pem_x509_certificate(trust.root.certificate_pem)
    root.verify_directly_issued_by(root)
    assert isinstance(root.public_key().curve, ec.SECP256R1)
    assert root.not_valid_after_utc == datetime.fromtimestamp(NOW + 20 * 365 * 86400, UTC)
    constraints = root.extensions.get_extension_for_class(library.BasicConstraints)
    assert constraints.critical
    assert constraints.value == library.BasicConstraints(ca=True, path_length=1)


def test_a_certificate_names_node_role_and_swarm(trust):
    certificate = issued(trust)
    assert certificate.subject.rfc4514_string() == "CN=n1,OU=swarm-manager,O=swarm1"
    assert certificate.serial_number == 4711
    found = certificate.extensions.get_extension_for_class(library.SubjectAlternativeName)
    assert found.value.get_values_for_type(library.DNSName) == [
        "n1.node.pyswarm",
        "manager.role.pyswarm",
        "worker.role.pyswarm",
    ]


def test_a_certificate_is_for_both_ends_of_a_connection_and_signs_nothing(trust):
    extensions = issued(trust).extensions
    assert set(extensions.get_extension_for_class(library.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert not extensions.get_extension_for_class(library.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(library.KeyUsage).value.key_cert_sign


def test_a_certificate_begins_an_hour_early(trust):
    certificate = issued(trust)
    assert certificate.not_valid_before_utc == datetime.fromtimestamp(NOW - 3600, UTC)
    assert certificate.not_valid_after_utc == datetime.fromtimestamp(NOW + 7200, UTC)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_a_request_may_use_p_256_or_p_384_and_its_subject_does_not_matter(trust, curve):
    request = request_of(ec.generate_private_key(curve), hashes.SHA256())
    assert x509.request_key(request)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
)
def test_a_request_with_another_kind_of_key_is_refused(key, algorithm):
    with pytest.raises(InvalidArgument, match="P-256 or P-384"):
        x509.request_key(request_of(key, algorithm))


def test_a_request_signed_by_another_key_is_refused():
    request = library.load_pem_x509_csr(x509.new_request(x509.new_key()))
    der = request.public_bytes(serialization.Encoding.DER)
    broken = library.load_der_x509_csr(der[:-1] + bytes([der[-1] ^ 1]))
    with pytest.raises(InvalidArgument, match="signature is wrong"):
        x509.request_key(broken.public_bytes(PEM))


@pytest.mark.parametrize("garbage", [b"", b"x" * 100, b"-----BEGIN CERTIFICATE REQUEST-----\n"])
def test_garbage_is_no_request(garbage):
    with pytest.raises(InvalidArgument, match="cannot be read"):
        x509.request_key(garbage)


def test_a_huge_request_is_refused_unread():
    with pytest.raises(InvalidArgument, match="larger than 8192"):
        x509.request_key(b"x" * 8193)


def test_only_the_root_that_signed_a_certificate_vouches_for_it(trust):
    certificate = trust.node("n1").certificate_pem
    x509.check_issued_by(certificate, trust.root.certificate_pem)
    with pytest.raises(PermissionDenied):
        x509.check_issued_by(certificate, Trust("swarm1", now=NOW).root.certificate_pem)


def test_a_key_belongs_to_its_certificate_only(trust):
    one, two = trust.node("n1"), trust.node("n1")
    x509.check_pair(one.certificate_pem, one.key_pem)
    with pytest.raises(DataLoss, match="do not belong together"):
        x509.check_pair(one.certificate_pem, two.key_pem)


def test_a_signature_is_checked_with_the_key_of_the_certificate(trust):
    one, two = trust.node("n1"), trust.node("n1")
    signature = x509.sign(one.key_pem, b"data")
    x509.check_signature(one.certificate_pem, signature, b"data")
    for certificate, data in ((one.certificate_pem, b"datb"), (two.certificate_pem, b"data")):
        with pytest.raises(PermissionDenied):
            x509.check_signature(certificate, signature, data)


def test_the_server_name_is_the_first_dns_name(trust):
    der = x509.to_der(trust.node("n1").certificate_pem)
    assert x509.server_name(der) == "n1.node.pyswarm"
    with pytest.raises(InvalidArgument):
        x509.server_name(x509.to_der(trust.root.certificate_pem))
    with pytest.raises(InvalidArgument):
        x509.server_name(b"garbage")


def root(**changes):
    """A root as an operator may make one, with what `changes` name done otherwise."""
    key = changes.pop("key", None) or ec.generate_private_key(ec.SECP384R1())
    options = {"ca": True, "path_length": None, "key_id": True, "years": 10.0, "issuer": "corp"}
    options |= changes
    made = datetime.fromtimestamp(NOW, UTC)
    name = library.Name([library.NameAttribute(NameOID.COMMON_NAME, "corp")])
    issuer = library.Name([library.NameAttribute(NameOID.COMMON_NAME, options["issuer"])])
    limits = library.BasicConstraints(options["ca"], options["path_length"])
    builder = (
        library.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(made - timedelta(days=options.get("age_days", 1)))
        .not_valid_after(made + timedelta(days=365 * options["years"]))
        .add_extension(limits, critical=True)
    )
    if options["key_id"]:
        own = library.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(own, critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(PEM)
    private = key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate, private


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ca": False}, "not one of a CA"),
        ({"issuer": "another"}, "must sign itself"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "RSA of 2048 bits"),
        ({"path_length": 0}, "path length 0"),
        ({"key_id": False}, "no subject key identifier"),
        ({"age_days": -1}, "not valid yet"),
        ({"years": 0.9}, "less than a year"),
    ],
)
def test_a_root_that_cannot_serve_is_refused_with_what_is_wrong(changes, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        x509.check_root(root(**changes)[0], NOW)


def test_a_root_is_one_readable_certificate_and_its_key_is_its_own():
    certificate, key = root()
    assert x509.check_root(b"comment\n" + certificate, NOW) == certificate
    for wrong in (b"", b"nonsense", certificate * 2, b"x" * 20_000):
        with pytest.raises(InvalidArgument, match=r"cannot be read|larger than"):
            x509.check_root(wrong, NOW)
    assert x509.check_root_key(certificate, key)
    with pytest.raises(InvalidArgument, match="does not belong"):
        x509.check_root_key(certificate, x509.new_key())
    with pytest.raises(InvalidArgument, match="cannot be read"):
        x509.check_root_key(certificate, b"nonsense")
    sealed = serialization.load_pem_private_key(key, None).private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    with pytest.raises(InvalidArgument, match="without a passphrase"):
        x509.check_root_key(certificate, sealed)


@pytest.mark.parametrize("bits", [0, 2048], ids=["ecdsa", "rsa"])
def test_a_cross_signed_root_leads_from_a_new_certificate_to_the_old_root(trust, bits):
    key = rsa.generate_private_key(65537, bits) if bits else None
    new, new_key = root(key=key) if key else root()
    crossed = x509.cross_sign(trust.root.certificate_pem, trust.root.key_pem, new, 5, NOW)
    assert x509.check_cross_signed(crossed, new, trust.root.certificate_pem) == crossed
    request = x509.new_request(x509.new_key())
    names = {"node_id": "n1", "role": NodeRole.WORKER, "cluster_id": "swarm1"}
    leaf = x509.issue(new, new_key, request, serial=6, now=NOW, life_seconds=3600.0, **names)
    x509.check_issued_by(leaf + crossed, trust.root.certificate_pem)
    x509.check_issued_by(leaf, new)
    for chain, roots in (
        (leaf, trust.root.certificate_pem),
        (leaf + crossed, Trust("swarm1", now=NOW).root.certificate_pem),
        (leaf + leaf, trust.root.certificate_pem),
    ):
        with pytest.raises(PermissionDenied):
            x509.check_issued_by(chain, roots)
    assert x509.issuing_root(leaf + crossed, trust.root.certificate_pem + new) == new
    assert x509.issuing_root(leaf + crossed, trust.root.certificate_pem) is None
    with pytest.raises(PermissionDenied, match="not the new root's"):
        x509.check_cross_signed(crossed, root()[0], trust.root.certificate_pem)


def test_a_certificate_does_not_outlive_its_root(trust):
    end = x509.ends_at(trust.root.certificate_pem)
    certificate = issued(trust, now=end - 100, life_seconds=3600.0)
    assert certificate.not_valid_after_utc.timestamp() == end
