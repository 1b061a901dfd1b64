"""CFSSL's protocol as far as an external CA needs it: POST a request to sign, read the certificate.

The request is JSON with the request in PEM, the subject and the host names that the certificate is
to have, and for a CA certificate the name of a profile. The answer is JSON with `success` and
`result.certificate`, or with `errors`. See https://github.com/cloudflare/cfssl/blob/master/doc/api.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

from pyswarm.errors import InvalidArgument, PermissionDenied, Unavailable
from pyswarm.model.cluster import ExternalCA
from pyswarm.model.identity import UNITS, names
from pyswarm.model.states import NodeRole

CROSS_SIGN_PROFILE: Final = "CA"
"""The profile under which the external CA must sign the next root, as in Docker Swarm."""
URL_LENGTH_MOST: Final = 2048
EXTERNAL_CAS_MOST: Final = 16


def check_external_ca(external: ExternalCA) -> None:
    """`InvalidArgument` unless the URL is one to send sign requests to."""
    try:
        parts = urlsplit(external.url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(external.url) > URL_LENGTH_MOST or not external.url.isprintable():
        raise InvalidArgument(f"the external CA's URL {external.url!r} must be https://HOST/PATH")


def node_request(request_pem: bytes, node_id: str, role: NodeRole, cluster_id: str) -> bytes:
    """The body that asks for a node's certificate."""
    subject = {"CN": node_id, "names": [{"OU": UNITS[role], "O": cluster_id}]}
    return _body(request_pem, hosts=list(names(node_id, role)), subject=subject)


def cross_sign_request(request_pem: bytes) -> bytes:
    """The body that asks to sign the next root; the subject is the request's."""
    return _body(request_pem, profile=CROSS_SIGN_PROFILE)


def _body(request_pem: bytes, **fields: Any) -> bytes:
    return json.dumps({"certificate_request": request_pem.decode(), **fields}).encode()


def read_answer(url: str, status: int, body: bytes) -> bytes:
    """The certificate in an answer, PEM.

    `PermissionDenied` with the CA's own words where it refuses, `Unavailable` where the answer is
    none of CFSSL's: something else may stand before the CA for a while.
    """
    try:
        answer = json.loads(body)
        if answer["success"]:
            certificate: str = answer["result"]["certificate"]
            return certificate.encode()
        errors = "; ".join(str(each["message"]) for each in answer["errors"])[:300]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unavailable(
            f"the external CA at {url} gave no answer of CFSSL's protocol (HTTP {status})"
        ) from error
    raise PermissionDenied(f"the external CA at {url} refused to sign: {errors or 'no reason'}")
