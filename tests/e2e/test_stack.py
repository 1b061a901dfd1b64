"""A stack on five hosts: deployed, reached, looked into, changed, removed without a trace."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import (
    containers,
    ok,
    push_site,
    rows,
    running,
    wait_page,
    wait_running,
    wait_spread,
)

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=2)

COMPOSE = """
services:
  web:
    image: {image}
    ports: ["8080:80"]
    configs:
      - source: note
        target: /etc/note
    networks: [front]
    deploy: {{replicas: 3, update_config: {{parallelism: 2, delay: 0s, monitor: 1s}}}}
  api:
    image: {image}
    secrets: [password]
    networks:
      front: {{aliases: [backend]}}
      back: {{}}
    deploy: {{replicas: 2}}
  cache:
    image: {image}
    volumes: ["kept:/data"]
    networks: [back]
    deploy:
      placement: {{constraints: ["node.hostname == w1"]}}
networks:
  front: {{driver: overlay}}
  back: {{driver: overlay}}
volumes:
  kept: {{}}
configs:
  note: {{file: ./note.txt}}
secrets:
  password: {{file: ./password.txt}}
"""


def ask(lab: LabDriver, program: str, question: str) -> str:
    """What a program answers that runs inside a container of web."""
    return wait_page(lab, "w2", path=f"/cgi-bin/{program}?{question}")


def addresses(answer: str) -> set[str]:
    """The addresses in the answer of nslookup, after those of the server itself."""
    assert "Name:" in answer, answer
    lines = answer.split("Name:", 1)[1].splitlines()
    return {line.split()[-1] for line in lines if line.startswith("Address")}


@pytest.fixture(scope="module")
def compose(lab: LabDriver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack's files."""
    directory = tmp_path_factory.mktemp("shop")
    (directory / "note.txt").write_text("a note\n")
    (directory / "password.txt").write_text("hush")
    path = directory / "compose.yml"
    path.write_text(COMPOSE.format(image=push_site(lab)))
    return path


@pytest.fixture
def shop(lab: LabDriver, compose: Path) -> LabDriver:
    """The lab with the stack deployed as its file says, whatever the test before changed."""
    ok(lab, "stack", "deploy", "-q", "-c", str(compose), "shop")
    return lab


def test_every_host_answers_and_every_backend_has_its_share(shop: LabDriver) -> None:
    for host in shop.hosts:
        wait_spread(shop, host, 3)


def test_names_are_found_inside_a_container(shop: LabDriver) -> None:
    assert len(addresses(ask(shop, "lookup", "api"))) == 1
    assert addresses(ask(shop, "lookup", "api")) == addresses(ask(shop, "lookup", "backend"))
    assert len(addresses(ask(shop, "lookup", "tasks.api"))) == 2
    tasks = set(running(shop, "shop_api"))
    for name in ("api", "backend"):
        assert ask(shop, "get", f"{name}/").strip()[:12] in tasks


def test_networks_keep_services_apart(shop: LabDriver) -> None:
    """web shares a network with api, api one with cache; web and cache share none."""
    assert "refused" in ask(shop, "get", "cache/")
    through_api = ask(shop, "get", "api/cgi-bin/get?cache/")
    assert through_api.strip()[:12] in running(shop, "shop_cache")
    known_to_api = addresses(ask(shop, "get", "api/cgi-bin/lookup?cache"))
    (address,) = known_to_api
    assert "refused" in ask(shop, "get", f"{address}/"), "web reaches cache by its address"


def test_a_config_and_a_secret_are_files_in_their_service_alone(shop: LabDriver) -> None:
    assert ask(shop, "cat", "/etc/note") == "a note\n"
    assert ask(shop, "get", "api/cgi-bin/cat?/run/secrets/password") == "hush"
    assert "No such file" in ask(shop, "cat", "/run/secrets/password")


def test_a_volume_outlives_its_container(shop: LabDriver) -> None:
    ask(shop, "get", "api/cgi-bin/get?cache/cgi-bin/keep?one")
    (before,) = running(shop, "shop_cache")
    ok(shop, "service", "update", "-q", "--force", "shop_cache")
    (after,) = running(shop, "shop_cache")
    assert before != after
    kept: list[str] = []

    def answers() -> bool:
        kept[:] = ask(shop, "get", "api/cgi-bin/get?cache/cgi-bin/keep?two").splitlines()
        return kept[-1:] == ["two"]

    shop.wait_until(answers, what="the new cache answers")
    assert kept[0] == "one"


def test_scaling_up_and_down_changes_who_answers(shop: LabDriver) -> None:
    ok(shop, "service", "scale", "shop_web=5")
    assert len(set(running(shop, "shop_web").values())) == 5, "one on each of the five hosts"
    wait_spread(shop, "w1", 5)
    ok(shop, "service", "scale", "shop_web=1")
    left = wait_running(shop, "shop_web", 1)
    for host in shop.hosts:
        for _ in range(4):
            assert wait_page(shop, host).strip()[:12] in left


def test_a_rolling_update_never_stops_answering(shop: LabDriver) -> None:
    before = running(shop, "shop_web")
    ok(shop, "service", "update", "-q", "--detach", "--env-add", "COLOUR=blue", "shop_web")
    failures: list[str] = []

    def updated() -> bool:
        for host in ("m1", "w1", "w2"):
            try:
                status, text = shop.fetch(host, 8080)
            except OSError as error:
                failures.append(f"{host}: {error!r}")
            else:
                if status != 200:
                    failures.append(f"{host}: {status} {text}")
        now = running(shop, "shop_web")
        return len(now) == 3 and not now.keys() & before.keys()

    shop.wait_until(updated, what="three new tasks run")
    assert not failures


def test_logs_of_a_service_come_from_all_its_nodes(shop: LabDriver) -> None:
    tasks = running(shop, "shop_web")
    assert len(set(tasks.values())) == 3

    def complete() -> bool:
        lines = ok(shop, "service", "logs", "shop_web", host="m2").splitlines()
        return all(
            any(id_ in line and f"@{node} " in line and "up: " in line for line in lines)
            for id_, node in tasks.items()
        )

    shop.wait_until(complete, what="every task's line is in the logs")


def test_a_global_service_runs_once_on_every_host(lab: LabDriver) -> None:
    image = push_site(lab)
    ok(lab, "service", "create", "-q", "--name", "each", "--mode", "global", image)
    try:
        assert sorted(running(lab, "each").values()) == sorted(lab.hosts)
    finally:
        ok(lab, "service", "rm", "--wait", "each")


def test_a_task_that_fits_nowhere_says_why(lab: LabDriver) -> None:
    image = push_site(lab)
    wish = ("--constraint", "node.labels.disk == gold")
    ok(lab, "service", "create", "--detach", "--name", "picky", *wish, image)
    try:

        def explained() -> bool:
            (row,) = rows(lab, "service", "ps", "picky", "--no-trunc")
            return "node.labels.disk" in row["Error"] or "constraint" in row["Error"]

        lab.wait_until(explained, what="service ps says why")
        ok(lab, "node", "update", "--label-add", "disk=gold", "w2")
        assert set(wait_running(lab, "picky", 1).values()) == {"w2"}
    finally:
        ok(lab, "node", "update", "--label-rm", "disk", "w2")
        ok(lab, "service", "rm", "--wait", "picky")


def test_a_stack_removed_leaves_nothing_behind(lab: LabDriver, compose: Path) -> None:
    if rows(lab, "stack", "ls"):
        ok(lab, "stack", "rm", "shop")
    quiet: dict[str, set[str]] = {}

    def empty() -> bool:
        quiet.update({host: lab.leftovers(host) for host in lab.hosts})
        return not any(line.startswith("container ") for left in quiet.values() for line in left)

    lab.wait_until(empty, what="no container is left of the tests before")
    lab.wait_until(
        lambda: all(lab.leftovers(host) == quiet[host] for host in lab.hosts) or not empty(),
        what="the hosts are at rest",
    )
    ok(lab, "stack", "deploy", "-q", "-c", str(compose), "shop")
    wait_spread(lab, "m1", 3)
    assert any(containers(lab, host) for host in lab.hosts)
    ok(lab, "stack", "rm", "shop")
    for kind in ("service", "network", "config", "secret"):
        assert not [row for row in rows(lab, kind, "ls") if row["Name"].startswith("shop_")]
    for host in lab.hosts:
        lab.wait_until(
            partial(_as_before, lab, host, quiet[host]), what=f"{host} is as it was before"
        )


def _as_before(lab: LabDriver, host: str, before: set[str]) -> bool:
    changed = sorted(lab.leftovers(host) ^ before)
    assert not changed
    return True
