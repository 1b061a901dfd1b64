"""The root of a running swarm is rotated, and tokens are: nothing stops, and nobody is left."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import (
    containers,
    fails,
    leader,
    nodes,
    ok,
    push_site,
    rows,
    wait_page,
    wait_running,
)

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=1)


@contextmanager
def writer(lab: LabDriver, host: str) -> Iterator[list[str]]:
    """Writes one config after the other in the background; answers the names acknowledged."""
    written: list[str] = []
    failed: list[subprocess.CompletedProcess[str]] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            name = f"written-{len(written)}"
            result = lab.pyswarm("config", "create", name, "/etc/hostname", host=host)
            if result.returncode:
                failed.append(result)
                return
            written.append(name)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def roots(lab: LabDriver) -> dict[str, tuple[str, list[str]]]:
    """What each node says: the root of its certificate, and the roots that it trusts."""
    found = {}
    for host in lab.hosts:
        [node] = json.loads(ok(lab, "node", "inspect", nodes(lab)[host]["ID"]))
        said = node["Description"]
        found[host] = (said["CertificateRoot"], said["TrustedRoots"])
    return found


def certificate_on_disk(lab: LabDriver, host: str) -> list[str]:
    """Subject of each certificate in a host's file: the node's, and what it trusts."""
    path = "/var/lib/pyswarm-lab"
    file = f"{path}/{lab.name}/{host}/pyswarm/certificates/node.pem"
    script = f"openssl crl2pkcs7 -nocrl -certfile {file} | openssl pkcs7 -print_certs -noout"
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return [line for line in answer.stdout.splitlines() if line.startswith("issuer")]


def token(lab: LabDriver, role: str = "worker") -> str:
    return ok(lab, "swarm", "join-token", "-q", role).strip()


def wait_all_ready(lab: LabDriver) -> None:
    def ready() -> bool:
        return bool(leader(lab)) and all(row["Status"] == "Ready" for row in nodes(lab).values())

    lab.wait_until(ready, what="every node is Ready")


def test_the_root_is_rotated_while_everything_goes_on(lab: LabDriver) -> None:
    service = ("--replicas", "4", "--publish", "8080:80", push_site(lab))
    ok(lab, "service", "create", "-q", "--name", "web", *service)
    wait_running(lab, "web", 4)
    before = {host: containers(lab, host) for host in lab.hosts}
    old_root, old_token = ok(lab, "swarm", "ca"), token(lab)
    with writer(lab, "m2") as written:
        lab.wait_until(lambda: len(written) > 2, what="the writer writes")
        said = ok(lab, "swarm", "ca", "--rotate")
        count = len(written)
        lab.wait_until(lambda: len(written) > count + 2, what="the writer still writes")
    progress, new_root = said.split("-----BEGIN", 1)
    new_root = f"-----BEGIN{new_root}"
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(new_root)).hexdigest()
    assert f"desired root digest: sha256:{digest}" in progress
    assert "rotated TLS certificates:  4/4 nodes" in progress
    assert "rotated CA certificates:   4/4 nodes" in progress
    assert new_root == ok(lab, "swarm", "ca") != old_root
    (shown,) = {(root, *trusted) for root, trusted in roots(lab).values()}
    assert shown == (shown[0], shown[0])
    for host in lab.hosts:
        assert len(set(certificate_on_disk(lab, host)) & set(certificate_on_disk(lab, "m1"))) >= 1
    assert {host: containers(lab, host) for host in lab.hosts} == before
    assert set(written) <= {row["Name"] for row in rows(lab, "config", "ls", host="m3")}
    wait_page(lab, "w1")
    for host in (leader(lab), "w1"):
        lab.restart_daemon(host)
        wait_all_ready(lab)
    ok(lab, "config", "create", "after-the-restart", "/etc/hostname", host="m3")
    assert {host: containers(lab, host) for host in lab.hosts} == before
    address = f"{lab.address('m1')}:2377"
    ok(lab, "swarm", "leave", host="w1")
    refused = fails(lab, "swarm", "join", "--token", old_token, address, host="w1")
    assert "another swarm than the join token" in refused
    assert token(lab) != old_token
    ok(lab, "swarm", "join", "--token", token(lab), address, host="w1")


def test_a_rotation_waits_for_a_node_that_is_down_and_a_second_one_takes_over(
    lab: LabDriver,
) -> None:
    gone = [row["ID"] for row in rows(lab, "node", "ls") if row["Status"] == "Down"]
    if gone:
        ok(lab, "node", "rm", *gone)
    wait_all_ready(lab)
    lab.hold_daemon("m3", down=True)
    lab.wait_until(lambda: nodes(lab)["m3"]["Status"] == "Down", what="m3 is Down")
    ok(lab, "swarm", "ca", "--rotate", "--detach", "--cert-expiry", "48h")
    lab.wait_until(
        lambda: len({root for root, _ in roots(lab).values()}) == 2, what="the others have rotated"
    )
    ok(lab, "swarm", "ca", "--rotate", "-d")
    lab.hold_daemon("m3", down=False)
    lab.wait_until(
        lambda: (
            len({(root, *trusted) for root, trusted in roots(lab).values()}) == 1
            and len(roots(lab)["m3"][1]) == 1
        ),
        what="every node has the second root alone",
    )
    wait_all_ready(lab)
    lives = subprocess.run(
        [
            "sh",
            "-c",
            f"openssl x509 -noout -checkend {49 * 3600} -in"
            f" /var/lib/pyswarm-lab/{lab.name}/m3/pyswarm/certificates/node.pem",
        ],
        capture_output=True,
        check=False,
    )
    assert lives.returncode == 1, "its certificate lives the 48 hours that were asked for"


def test_a_rotated_token_lets_nobody_in(lab: LabDriver) -> None:
    address = f"{lab.address('m1')}:2377"
    old = token(lab)
    assert "Successfully rotated worker join token." in ok(
        lab, "swarm", "join-token", "--rotate", "worker"
    )
    ok(lab, "swarm", "leave", host="w1")
    assert "wrong or was rotated" in fails(lab, "swarm", "join", "--token", old, address, host="w1")
    ok(lab, "swarm", "join", "--token", token(lab), address, host="w1")
