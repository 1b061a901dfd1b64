"""The words of CFSSL's protocol."""

import json

import pytest

from manager.ca.cfssl import check_external_ca, cross_sign_request, node_request, read_answer
from pyswarm.errors import InvalidArgument, PermissionDenied, Unavailable
from pyswarm.model import ExternalCA, NodeRole

URL = "https://ca.example/api/v1/cfssl/sign"


def test_a_node_is_asked_for_with_its_subject_and_names():
    assert json.loads(node_request(b"PEM", "n1", NodeRole.WORKER, "swarm1")) == {
        "certificate_request": "PEM",
        "hosts": ["n1.node.pyswarm", "worker.role.pyswarm"],
        "subject": {"CN": "n1", "names": [{"OU": "swarm-worker", "O": "swarm1"}]},
    }


def test_the_next_root_is_asked_for_under_the_profile_of_a_ca():
    wanted = {"certificate_request": "PEM", "profile": "CA"}
    assert json.loads(cross_sign_request(b"PEM")) == wanted


def test_an_answer_is_a_certificate_or_a_refusal_in_the_ca_s_words():
    good = {"success": True, "result": {"certificate": "PEM"}, "errors": []}
    assert read_answer(URL, 200, json.dumps(good).encode()) == b"PEM"
    bad = {"success": False, "result": None, "errors": [{"code": 5, "message": "not today"}]}
    with pytest.raises(PermissionDenied, match="refused to sign: not today"):
        read_answer(URL, 400, json.dumps(bad).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"success": true}', b'{"success": false, "errors": 7}'],
)
def test_anything_else_is_no_answer_and_may_be_one_later(body):
    with pytest.raises(Unavailable, match=r"no answer of CFSSL's protocol \(HTTP 502\)"):
        read_answer(URL, 502, body)


@pytest.mark.parametrize(
    "url",
    ["", "http://ca.example/", "https://", "https:///path", "https://ca:port/", "https://ca/\n"],
)
def test_only_an_https_url_is_taken(url):
    check_external_ca(ExternalCA(url=URL))
    with pytest.raises(InvalidArgument, match="must be https"):
        check_external_ca(ExternalCA(url=url))
