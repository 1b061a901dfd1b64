"""The root of a running swarm is rotated, and tokens are: nothing stops, and nobody is left."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from certs.disk import CertificateDirectory
from certs.x509 import BACKDATE_SECONDS, check_issued_by
from pyswarm.lab.host import running
from pyswarm.lab.syscalls import in_network
from pyswarm.rpc import Credentials
from pyswarm.testing.cfssl import Cfssl, cfssl
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
from pyswarm.testing.trust import Trust

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


def roots(lab: LabDriver, host: str = "m1") -> dict[str, tuple[str, ...]]:
    """What each node says: the root of its certificate, and the roots that it trusts."""
    ids = [row["ID"] for row in rows(lab, "node", "ls", host=host)]
    text = ok(lab, "node", "inspect", *ids, host=host)
    said = [node["Description"] for node in json.loads(text)]
    return {d["Hostname"]: (d["CertificateRoot"], *d["TrustedRoots"]) for d in said}


def credentials(lab: LabDriver, host: str) -> Credentials:
    """What a host's daemon has on its disk."""
    path = lab.lab.layout.state / host / "pyswarm" / "certificates"
    found = CertificateDirectory(path).load()
    assert found is not None
    return found


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
    old_root = ok(lab, "swarm", "ca")
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
    [(shown, *trusted)] = set(roots(lab).values())
    assert trusted == [shown]
    for host in lab.hosts:
        assert credentials(lab, host).root_pem.decode() == new_root
    assert {host: containers(lab, host) for host in lab.hosts} == before
    assert set(written) <= {row["Name"] for row in rows(lab, "config", "ls", host="m3")}
    wait_page(lab, "w1")
    lab.restart_daemon(leader(lab))
    wait_all_ready(lab)
    ok(lab, "config", "create", "after-the-restart", "/etc/hostname", host="m3")
    assert {host: containers(lab, host) for host in lab.hosts} == before


def test_a_rotation_waits_for_a_node_that_is_away_and_a_second_one_takes_over(
    lab: LabDriver,
) -> None:
    here, away = sorted(("m1", "m2", "m3"), key=lambda name: name != leader(lab))[:2]
    lab.partition(away)
    lab.wait_until(lambda: nodes(lab, here)[away]["Status"] == "Down", what=f"{away} is Down")
    ok(lab, "swarm", "ca", "--rotate", "--detach", "--cert-expiry", "48h", host=here)
    lab.wait_until(
        lambda: len({root for root, *_ in roots(lab, here).values()}) == 2,
        what="the others have rotated",
    )
    ok(lab, "swarm", "ca", "--rotate", "-d", host=here)
    lab.heal(away)
    lab.wait_until(
        lambda: [len(said) for said in set(roots(lab, here).values())] == [2],
        what="every node has the second root alone",
    )
    wait_all_ready(lab)
    begins, ends = credentials(lab, away).validity
    assert ends - begins == 48 * 3600 + BACKDATE_SECONDS


def test_tokens_of_an_old_root_and_rotated_ones_let_nobody_in(lab: LabDriver) -> None:
    def join(token: str) -> tuple[str, ...]:
        return ("swarm", "join", "--token", token, f"{lab.address('m1')}:2377")

    of_old_root = token(lab)
    ok(lab, "swarm", "ca", "--rotate", "--quiet")
    rotated = token(lab)
    said = ok(lab, "swarm", "join-token", "--rotate", "worker")
    assert said.startswith("Successfully rotated worker join token.")
    assert len({of_old_root, rotated, token(lab)}) == 3
    ok(lab, "swarm", "leave", host="w1")
    refused = fails(lab, *join(of_old_root), host="w1")
    assert "another swarm than the join token" in refused
    assert "wrong or was rotated" in fails(lab, *join(rotated), host="w1")
    ok(lab, *join(token(lab)), host="w1")


def test_a_swarm_is_founded_with_the_root_of_an_external_ca(lab: LabDriver, tmp_path: Path) -> None:
    theirs = Trust("theirs").root
    (tmp_path / "ca.pem").write_bytes(theirs.certificate_pem)
    ok(lab, "swarm", "leave", host="w1")
    wrong = lab.pyswarm("swarm", "init", "--external-ca", "protocol=cfssl", host="w1")
    assert wrong.returncode == 125
    assert (
        'invalid argument "protocol=cfssl" for "--external-ca" flag: '
        "the external-ca option needs a url= parameter"
    ) in wrong.stderr
    nobody = f"protocol=cfssl,url=https://127.0.0.1:1/,cacert={tmp_path / 'ca.pem'}"
    assert "does not answer" in fails(lab, "swarm", "init", "--external-ca", nobody, host="w1")
    assert "inactive" in ok(lab, "info", host="w1")
    with ExitStack() as stack:

        def serve() -> Cfssl:
            return stack.enter_context(cfssl(theirs.certificate_pem, theirs.key_pem))

        ca = in_network(running(lab.lab.layout, "w1").namespace("net"), serve)
        there = f"protocol=cfssl,url={ca.url},cacert={tmp_path / 'ca.pem'}"
        ok(lab, "swarm", "init", "--external-ca", there, host="w1")
        assert ok(lab, "swarm", "ca", host="w1").encode() == theirs.certificate_pem
        own = credentials(lab, "w1")
        check_issued_by(own.certificate_pem, theirs.certificate_pem)
        assert own.root_pem == theirs.certificate_pem
        [asked] = ca.requests
        assert asked["subject"]["CN"] == own.identity.node_id
        lab.wait_until(lambda: nodes(lab, "w1")["w1"]["Status"] == "Ready", what="it works")
        # Its backup has no root key: the CA makes the restored manager's certificate.
        (tmp_path / "passphrase").write_text("correct horse\n")
        secret = ("--passphrase-file", str(tmp_path / "passphrase"))
        file = str(tmp_path / "swarm.backup")
        ok(lab, "config", "create", "kept", str(tmp_path / "passphrase"), host="w1")
        assert "a restore asks it" in ok(lab, "swarm", "backup", *secret, file, host="w1")
        ok(lab, "swarm", "leave", "--force", host="w1")
        ok(lab, "swarm", "restore", *secret, file, host="w1")
        assert ca.requests[1]["subject"]["CN"] == credentials(lab, "w1").identity.node_id
        assert "kept" in ok(lab, "config", "ls", host="w1")
        lab.wait_until(lambda: nodes(lab, "w1")["w1"]["Status"] == "Ready", what="it works again")
        # The way back leads over the CA, which signs the next root.
        ok(lab, "swarm", "ca", "--rotate", "-q", host="w1")
        assert ca.requests[-1]["profile"] == "CA"
        assert credentials(lab, "w1").root_pem != theirs.certificate_pem
    ok(lab, "swarm", "leave", "--force", host="w1")
    ok(lab, "swarm", "join", "--token", token(lab), f"{lab.address('m1')}:2377", host="w1")
