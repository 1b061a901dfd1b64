"""What `swarm ca` takes, and what it shows of a rotation."""

import hashlib
from argparse import Namespace

import pytest

from certs import x509
from pyswarm.cli.ca import external_ca, measure, request_of
from pyswarm.errors import InvalidArgument
from pyswarm.model import Cluster, ExternalCA, Node, NodeDescription, NodeState, NodeStatus
from pyswarm.testing.trust import Trust

TRUST = Trust()
BEFORE = TRUST.root
TRUST.begin_rotation()
DURING = TRUST.root
TRUST.finish_rotation()
AFTER = TRUST.root


def node(name, root, trusted=(), state=NodeState.READY):
    description = NodeDescription(hostname=name, certificate_root=root, trusted_roots=trusted)
    return Node(id=name, description=description, status=NodeStatus(state=state))


def test_progress_counts_certificates_and_roots_and_names_who_is_waited_for():
    nodes = [
        node("m1", AFTER.digest, (BEFORE.digest, AFTER.digest)),
        node("m2", BEFORE.digest, (BEFORE.digest,)),
        node("w1", BEFORE.digest, (BEFORE.digest,), NodeState.DOWN),
        node("never-came-up", "", (), NodeState.UNKNOWN),
    ]
    progress = measure(Cluster(root_ca=DURING), nodes)
    digest = hashlib.sha256(x509.to_der(AFTER.certificate_pem)).hexdigest()
    assert not progress.over
    assert progress.lines() == [
        f"desired root digest: sha256:{digest}",
        "  rotated TLS certificates:  1/4 nodes",
        "  rotated CA certificates:   0/4 nodes",
        "  waiting for w1, never-came-up, not ready: the rotation ends once they are back, "
        "or removed with 'pyswarm node rm'",
    ]


def test_it_is_over_when_all_that_are_up_trust_the_new_root_alone():
    done = node("m1", AFTER.digest, (AFTER.digest,))
    asleep = node("w1", AFTER.digest, (BEFORE.digest, AFTER.digest), NodeState.DOWN)
    late = node("w2", AFTER.digest, (BEFORE.digest, AFTER.digest))
    assert not measure(Cluster(root_ca=AFTER), [done, asleep, late]).over
    progress = measure(Cluster(root_ca=AFTER), [done, asleep])
    assert progress.over
    assert (progress.certificates, progress.roots, progress.missing) == (2, 1, ())
    waited_for = node("w1", AFTER.digest, (BEFORE.digest, AFTER.digest), NodeState.UNKNOWN)
    assert measure(Cluster(root_ca=AFTER), [done, waited_for]).over


def test_an_external_ca_is_read_and_refused_in_docker_s_words(tmp_path):
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    url = "https://ca.example:8888/api/v1/cfssl/sign"
    assert external_ca(f"protocol=cfssl,url={url}") == ExternalCA(url=url)
    full = external_ca(f"protocol=CFSSL,url={url},cacert={tmp_path / 'ca.pem'}")
    assert full.certificate_pem == b"PEM"
    for text, words in (
        ("url=https://ca", "needs a protocol= parameter"),
        ("protocol=cfssl", "needs a url= parameter"),
        ("protocol=acme,url=https://ca", "unrecognized external CA protocol acme"),
        ("nonsense", "invalid field 'nonsense' must be a key=value pair"),
        ("protocol=cfssl,url=https://ca,cacert=/none", "unable to read /none"),
        ("protocol=cfssl,url=https://ca,color=red", "has no parameter color"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            external_ca(text)


def flags(**given):
    return Namespace(
        **{"ca_cert": None, "ca_key": None, "external_ca": [], "cert_expiry": None} | given
    )


def test_flags_that_do_not_fit_are_refused_before_anything_is_asked(tmp_path):
    certificate = tmp_path / "ca.pem"
    certificate.write_bytes(BEFORE.certificate_pem)
    path, there = str(certificate), "protocol=cfssl,url=https://ca.example/"
    for given, words in (
        ({"external_ca": [external_ca(there)]}, "requires the `--ca-cert` flag"),
        ({"ca_cert": path}, "--ca-key flag and/or --external-ca flag"),
        ({"ca_key": path}, "requires the --ca-cert flag"),
        ({"ca_cert": path, "ca_key": "/none"}, "unable to read /none"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            request_of(flags(**given))
    cas = [external_ca(there)]
    request = request_of(flags(ca_cert=path, external_ca=cas, cert_expiry=7200.0))
    assert request.external_cas[0].certificate_pem == BEFORE.certificate_pem
    assert request.certificate_life_seconds == 7200.0
    assert request_of(flags()).certificate == b""
