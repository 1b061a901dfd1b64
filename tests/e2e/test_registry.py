"""A registry that lets nobody in without a login, and the disks of the nodes that pull from it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import ExitStack

import pytest

from pyswarm.lab.layout import HUB_ADDRESS
from pyswarm.lab.syscalls import in_network
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import fails, ok, rows, wait_running
from pyswarm.testing.token_server import ISSUER, SERVICE, TokenServer, token_server

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=1)

CLOSED = "registry:5001"
# bcrypt, as htpasswd writes it.
FIRST, FIRST_HASH = "s3cret-one", "$2y$05$abcdefghijklmnopqrstuu994sD6kWTY6e8is3s4aGvgENWFobAPq"
SECOND, SECOND_HASH = "s3cret-two", "$2y$05$abcdefghijklmnopqrstuuqLOkrgUOQMaQ7RgfTUVhxyBvGJMyfsK"
RUN = ("sh", "-c", "trap exit TERM; while :; do sleep 1 & wait $!; done")
QUICK = ("--restart-delay", "200ms", "--update-monitor", "0s")
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{state}/registry"}}}}
auth: {{htpasswd: {{realm: lab, path: "{state}/htpasswd"}}}}
http: {{addr: ":5001"}}
"""


TOKEN_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{state}/registry"}}}}
auth: {{token: {{realm: "{realm}", service: {service}, issuer: {issuer},
  rootcertbundle: "{state}/tokens.pem"}}}}
http: {{addr: ":5002"}}
"""


def allow(lab: LabDriver, password_hash: str) -> None:
    """Let ann in with the password of this hash, and with no other any more."""
    path = lab.lab.layout.state / "hub" / "htpasswd"
    times = path.stat().st_mtime + 5 if path.exists() else time.time()
    path.write_text(f"ann:{password_hash}\n")
    os.utime(path, (times, times))  # by which the registry knows that the file is another one


def login(lab: LabDriver, password: str) -> subprocess.CompletedProcess[str]:
    words = f"printf %s {password} | pyswarm registry login -u ann --password-stdin {CLOSED}"
    return lab.exec("m1", "sh", "-c", words)


@pytest.fixture(scope="module")
def closed(lab: LabDriver) -> LabDriver:
    """The lab with a second registry, which has the same images as the first."""
    state = lab.lab.layout.state / "hub"
    (state / "closed.yml").write_text(CONFIG.format(state=state))
    allow(lab, FIRST_HASH)
    for number in (1, 2, 3):
        lab.push_image(f"site:{number}", *RUN, files={f"file{number}": "x" * number})
    serve = f"docker-registry serve {state}/closed.yml >{state}/log/closed.log 2>&1 &"
    lab.output("hub", "sh", "-c", serve)
    lab.wait_until(lambda: login(lab, "wrong").stderr.count("incorrect"), what="it answers")
    return lab


def image_of(lab: LabDriver, service: str) -> str:
    [found] = json.loads(ok(lab, "service", "inspect", service))
    return str(found["Spec"]["Task"]["Container"]["Image"])


def create(lab: LabDriver, name: str, image: str, *flags: str) -> subprocess.CompletedProcess[str]:
    done = lab.pyswarm("service", "create", "-d", "--name", name, *QUICK, *flags, image)
    assert done.returncode == 0, done.stderr
    return done


def test_a_pull_fails_without_a_login_and_works_with_one(closed: LabDriver) -> None:
    said = create(closed, "web", f"{CLOSED}/site:1", "--constraint", "node.hostname==w1").stderr
    assert said.startswith(
        f"image {CLOSED}/site:1 could not be accessed on a registry to record\n"
        f"its digest. Each node will access {CLOSED}/site:1 independently,\n"
        "possibly leading to different nodes running different\nversions of the image.\n"
    )
    assert image_of(closed, "web") == f"{CLOSED}/site:1"
    closed.wait_until(
        lambda: "without a login" in ok(closed, "service", "ps", "--no-trunc", "web"),
        what="service ps says why nothing runs",
    )
    wrong = login(closed, "guess")
    assert wrong.returncode == 1
    assert "incorrect username or password" in wrong.stderr
    assert not rows(closed, "registry", "ls")
    assert login(closed, FIRST).stdout == "Login Succeeded\n"
    wait_running(closed, "web", 1)
    [row] = rows(closed, "registry", "ls")
    assert (row["Server"], row["User"]) == (CLOSED, "ann")


def test_after_a_new_password_and_a_new_login_a_pull_still_works(closed: LabDriver) -> None:
    allow(closed, SECOND_HASH)
    assert login(closed, FIRST).returncode == 1, "the old password is not right any more"
    assert login(closed, SECOND).returncode == 0
    done = closed.pyswarm("service", "update", "-q", "--image", f"{CLOSED}/site:2", "web")
    assert (done.returncode, done.stderr) == (0, "")
    assert image_of(closed, "web").startswith(f"{CLOSED}/site:2@sha256:")
    assert ok(closed, "service", "ls").split()[10] == f"{CLOSED}/site:2"


def test_a_service_brings_dockers_login_and_takes_it_away_again(closed: LabDriver) -> None:
    ok(closed, "registry", "logout", CLOSED)
    assert fails(closed, "registry", "logout", CLOSED) == f"Error: not logged in to {CLOSED}"
    auths = {CLOSED: {"auth": "YW5uOnMzY3JldC10d28="}}
    folder = closed.lab.layout.state / "m1" / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    command = ("service", "create", "-q", "--with-registry-auth", "--name", "own", *QUICK)
    program = ("env", f"DOCKER_CONFIG={folder}", "pyswarm", *command, f"{CLOSED}/site:3")
    closed.output("m1", *program)
    assert "@sha256:" in image_of(closed, "own")
    [row] = rows(closed, "registry", "ls")
    assert row["Service"]
    assert "s3cret" not in ok(closed, "service", "inspect", "own")
    ok(closed, "service", "rm", "--wait", "own")
    assert not rows(closed, "registry", "ls")


def files_with(lab: LabDriver, host: str, *texts: str) -> list[str]:
    """The files that the daemon of a host keeps and in which one of these texts is."""
    patterns = [word for text in texts for word in ("-e", text)]
    places = (str(lab.lab.layout.state / host / "pyswarm"), "/run/pyswarm")
    # What stands for namespaces below overlay/ cannot be read at all.
    skipped = ("-D", "skip", "--exclude-dir=overlay")
    found = lab.exec(host, "grep", "-rlF", *skipped, *patterns, *places)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout.splitlines()


def test_an_identity_token_of_docker_is_taken_over_and_pulls(closed: LabDriver) -> None:
    state, server = closed.lab.layout.state / "hub", "registry:5002"
    folder = closed.lab.layout.state / "m1" / "identity"
    folder.mkdir()
    auths = {server: {"identitytoken": "refresh/me"}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    take_over = ("env", f"DOCKER_CONFIG={folder}", "pyswarm", "registry", "login", "--from-docker")
    with ExitStack() as stack:

        def serve() -> TokenServer:
            return stack.enter_context(token_server(HUB_ADDRESS, "refresh/me"))

        tokens = in_network(closed.lab.hub.namespace("net"), serve)
        (state / "tokens.pem").write_bytes(tokens.root_pem)
        realm = f"http://{HUB_ADDRESS}:{tokens.port}/token"
        config = TOKEN_CONFIG.format(state=state, realm=realm, service=SERVICE, issuer=ISSUER)
        (state / "tokens.yml").write_text(config)
        start = f"docker-registry serve {state}/tokens.yml >{state}/log/tokens.log 2>&1 &"
        closed.output("hub", "sh", "-c", start)
        closed.wait_until(
            lambda: closed.exec("m1", *take_over, server).stdout == "Login Succeeded\n",
            what="the token is taken over",
        )
        [row] = [row for row in rows(closed, "registry", "ls") if row["Server"] == server]
        assert row["User"] == "<token>"
        ok(closed, "service", "create", "-q", "--name", "by-token", *QUICK, f"{server}/site:1")
        assert "@sha256:" in image_of(closed, "by-token")
        wait_running(closed, "by-token", 1)
        scopes = [form.get("scope", "") for form in tokens.asked]
        # At the login, for the digest, and for the pull.
        assert scopes[-3:] == ["", *["repository:site:pull"] * 2]
        ok(closed, "service", "rm", "--wait", "by-token")
        tokens.identity_token = "another"
        refused = closed.exec("m1", *take_over, server)
        assert refused.returncode == 1
        assert "refuses this identity token: it is wrong or has expired" in refused.stderr


def test_no_password_lies_on_a_disk(closed: LabDriver) -> None:
    assert files_with(closed, "w1", f"{CLOSED}/site:2"), "the tasks are kept where we look"
    for host in ("m1", "w1"):
        texts = FIRST, SECOND, "YW5uOnMzY3JldC10d28=", "refresh/me"
        assert not files_with(closed, host, *texts)


def test_a_tag_that_moves_moves_no_service_that_was_not_asked_to(lab: LabDriver) -> None:
    image = lab.push_image("moving:1", *RUN, files={"old": "1"})
    create(lab, "still", image, "--replicas", "0")
    create(lab, "loose", image, "--no-resolve-image", "--replicas", "0")
    first = image_of(lab, "still")
    assert first.startswith(f"{image}@sha256:")
    assert image_of(lab, "loose") == image
    [spec] = json.loads(ok(lab, "service", "inspect", "still"))
    assert spec["Spec"]["Task"]["Placement"]["Platforms"][0]["OS"] == "linux"
    lab.push_image("moving:1", *RUN, files={"new": "2"})
    ok(lab, "service", "update", "-d", "--env-add", "A=1", "still")
    assert image_of(lab, "still") == first
    ok(lab, "service", "update", "-d", "--image", image, "still")
    assert image_of(lab, "still") != first
    ok(lab, "service", "rm", "--wait", "still", "loose")


def names(lab: LabDriver, host: str) -> str:
    return lab.output(host, "ctr", "-n", "pyswarm", "images", "ls", "-q")


def test_room_is_made_on_all_nodes_and_what_runs_stays(lab: LabDriver) -> None:
    image = lab.push_image("idle:1", *RUN, files={"idle": "z" * 100_000})
    ok(lab, "service", "create", "-q", "--mode", "global", "--name", "idle", *QUICK, image)
    used = {row["Type"]: row for row in rows(lab, "system", "df") if "Node" not in row}
    assert int(used["Containers"]["Active"]) >= 2
    assert "idle.m1" not in ok(lab, "system", "df", "-v").partition("Containers space")[0]
    ok(lab, "service", "rm", "--wait", "idle")
    lab.wait_until(
        lambda: all(
            "idle" not in line
            for line in ok(lab, "system", "df", "-v").partition("Containers space")[2].splitlines()
        ),
        what="the containers are gone",
    )
    refused = lab.exec("m1", "sh", "-c", "echo n | pyswarm system prune -a")
    assert refused.returncode == 1
    assert "Are you sure you want to continue? [y/N]" in refused.stdout
    assert all("idle" in names(lab, host) for host in ("m1", "w1"))
    said = lab.output("m1", "sh", "-c", "echo y | pyswarm system prune -a")
    assert said.count("registry:5000/idle@sha256:") == 2
    assert "(m1)" in said
    assert "(w1)" in said
    assert "Total reclaimed space: " in said
    assert not said.rstrip().endswith("space: 0B")
    assert not any("idle" in names(lab, host) for host in ("m1", "w1"))
    assert wait_running(lab, "web", 1), "and what runs goes on"
    assert "site@sha256" in names(lab, "w1")


def test_images_that_nothing_needs_go_by_themselves(lab: LabDriver) -> None:
    image = lab.push_image("brief:1", *RUN)
    wish = ("--constraint", "node.hostname==w1")
    ok(lab, "service", "create", "-q", "--name", "brief", *QUICK, *wish, image)
    ok(lab, "service", "rm", "--wait", "brief")
    assert "brief" in names(lab, "w1"), "an image stays a while: a rollback may want it"
    try:
        ok(lab, "swarm", "update", "--image-max-age", "1s", "--image-grace", "0s")
        lab.wait_until(lambda: "brief" not in names(lab, "w1"), what="the image is collected")
        assert "site@sha256" in names(lab, "w1")
    finally:
        ok(lab, "swarm", "update", "--image-max-age", "168h", "--image-grace", "1h")


def test_a_node_that_is_away_is_named_and_holds_nobody_up(lab: LabDriver) -> None:
    lab.hold_daemon("w1", down=True)
    try:
        begun = time.monotonic()
        found = lab.pyswarm("system", "df")
        assert time.monotonic() - begun < 20
        assert found.returncode == 1
        assert "Error: node w1 did not answer: " in found.stderr
        assert "m1" not in found.stderr
        assert found.stdout.startswith("TYPE ")
        pruned = lab.pyswarm("system", "prune", "-f")
        assert "Error: node w1 did not answer: " in pruned.stderr
        assert "Total reclaimed space: " in pruned.stdout
    finally:
        lab.hold_daemon("w1", down=False)
