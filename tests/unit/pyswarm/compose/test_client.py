"""Files on the disk: the shop, several files, names, and files that are not there."""

import io
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyswarm.compose.client import load, load_document
from pyswarm.compose.context import Context
from pyswarm.compose.convert import convert
from pyswarm.compose.document import read
from pyswarm.compose.marked import ComposeError
from pyswarm.compose.show import to_yaml
from pyswarm.errors import InvalidArgument

SHOP = """\
x-logging: &logging
  driver: json-file
  options: {max-size: 10m}
services:
  web:
    image: ${REGISTRY:-registry.lab:5000}/nginx
    ports: ["8080:80"]
    configs: [{source: site, target: /etc/nginx/conf.d/default.conf}]
    networks: [front]
    logging: *logging
    depends_on: [api]
    deploy: {replicas: 2}
  api:
    image: ${REGISTRY:-registry.lab:5000}/api
    environment: {CACHE: "cache:6379", PRICE: $$5}
    secrets: [password]
    networks: [front, back]
    healthcheck: {test: wget -q -O- http://localhost/health, interval: 2s}
    deploy: {replicas: 3, resources: {limits: {cpus: "0.5", memory: 64M}}}
  cache:
    image: ${REGISTRY:-registry.lab:5000}/redis
    command: redis-server --appendonly yes
    volumes: ["data:/data"]
    networks: [back]
    deploy: {placement: {constraints: ["node.labels.disk == ssd"]}}
networks: {front: , back: }
volumes: {data: }
secrets: {password: {file: password.txt}}
configs: {site: {file: ./site.conf}}
"""


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "My Shop"
    folder.mkdir()
    (folder / "compose.yml").write_text(SHOP)
    (folder / "password.txt").write_bytes(b"hunter2")
    (folder / "site.conf").write_bytes(b"server {}\n")
    return folder


def refusal(*args):
    with pytest.raises(InvalidArgument) as caught:
        load(*args)
    return caught.value.message


def test_the_shop(shop):
    loaded = load([shop / "compose.yml"], None, {})
    stack = loaded.stack
    assert stack.name == "myshop"
    assert [s.name for s in stack.services] == ["myshop_api", "myshop_cache", "myshop_web"]
    assert [n.name for n in stack.networks] == ["myshop_back", "myshop_front"]
    assert stack.secrets[0].data == b"hunter2"
    assert stack.configs[0].data == b"server {}\n"
    api, cache, web = stack.services
    assert api.task.container.env == ("CACHE=cache:6379", "PRICE=$5")
    assert cache.task.placement.constraints == ("node.labels.disk == ssd",)
    assert web.task.container.image == "registry.lab:5000/nginx"
    assert [a.target for a in web.task.networks] == ["myshop_front"]
    assert [w.partition(": ")[2] for w in loaded.warnings] == [
        "services.web.depends_on: ignored: "
        "a swarm starts all services at once and restarts what fails"
    ]


def test_the_name_is_the_argument_or_the_files_or_the_folders(shop):
    (shop / "named.yml").write_text("name: fromfile\n" + SHOP)
    assert load([shop / "named.yml"], None, {}).stack.name == "fromfile"
    assert load([shop / "named.yml"], "given", {}).stack.name == "given"
    assert "is not a stack's name" in refusal([shop / "named.yml"], "a.b", {})


def test_later_files_change_earlier_ones_and_paths_are_beside_the_first(shop):
    other = shop / "sub"
    other.mkdir()
    (other / "prod.yml").write_text("services: {web: {deploy: {replicas: 5}}}")
    stack = load([shop / "compose.yml", other / "prod.yml"], None, {}).stack
    assert stack.services[2].replicas == 5
    assert stack.secrets[0].data == b"hunter2"


def test_variables_come_from_the_environment_and_then_from_dot_env(shop):
    (shop / ".env").write_text("REGISTRY=from.dotenv\n")
    image = load([shop / "compose.yml"], None, {}).stack.services[0].task.container.image
    assert image == "from.dotenv/api"
    environ = {"REGISTRY": "from.environ", "BROKEN": "\udcff"}
    image = load([shop / "compose.yml"], None, environ).stack.services[0].task.container.image
    assert image == "from.environ/api"


def test_standard_input_is_a_file_too(shop, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(SHOP.encode())

    monkeypatch.setattr(sys, "stdin", Stdin)
    monkeypatch.chdir(shop)
    assert load(["-"], None, {}).stack.name == "myshop"


def test_a_missing_secret_is_one_sentence_with_its_place(shop):
    (shop / "password.txt").unlink()
    assert refusal([shop / "compose.yml"], None, {}) == (
        f"{shop}/compose.yml:28: secrets.password.file: the file {shop}/password.txt does not exist"
    )


def test_a_secret_that_is_too_large_is_refused_without_reading_it_all(shop):
    (shop / "password.txt").write_bytes(b"x" * 2_000_000)
    assert "password.txt is larger than 512000 bytes" in refusal([shop / "compose.yml"], None, {})


def test_compose_files_that_cannot_be_read(shop):
    assert "does not exist" in refusal([shop / "none.yml"], None, {})
    assert "cannot be read: Is a directory" in refusal([shop], None, {})
    (shop / "latin.yml").write_bytes(b"a: 1\nb: \xe4")
    assert refusal([shop / "latin.yml"], None, {}).endswith("latin.yml:2: not UTF-8 text")
    (shop / "large.yml").write_bytes(b"#" * (1 << 21))
    assert "is larger than" in refusal([shop / "large.yml"], None, {})
    assert "no compose file" in refusal([], None, {})


def test_the_problems_of_all_files_are_told_at_once(shop):
    (shop / "a.yml").write_text("a: 1")
    (shop / "b.yml").write_text("services: {w: {image: []}}")
    assert len(refusal([shop / "a.yml", shop / "b.yml"], None, {}).splitlines()) == 2


def test_the_shown_configuration_means_the_same_and_needs_no_secret(shop):
    (shop / "password.txt").unlink()
    shown = to_yaml(load_document([shop / "compose.yml"], {}).document.tree)
    (shop / "password.txt").write_bytes(b"hunter2")
    (shop / "shown.yml").write_text(shown)
    assert "PRICE: $$5" in shown
    first = load([shop / "compose.yml"], None, {}).stack
    assert load([shop / "shown.yml"], None, {}).stack == first
    again = to_yaml(load_document([shop / "shown.yml"], {}).document.tree)
    assert again == shown


def everything(text, environ):
    tree = read([("c.yml", text)], environ).tree
    return convert(tree, Context(stack="s", folder="/", environ=environ))


LINES = sorted({line for line in SHOP.splitlines() if line.strip()})
WORDS = ["services", "web", "image", "ports", "deploy", "null", "- ", "[", "]", "{", "}", ":", "*a"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=8) | st.sampled_from(WORDS), max_size=14))
def test_no_mixture_of_lines_raises_anything_but_a_compose_error(lines):
    with suppress(ComposeError):
        everything("\n".join(lines), {"A": "1"})


KEYS = st.sampled_from(
    [
        "services",
        "networks",
        "volumes",
        "secrets",
        "configs",
        "name",
        "web",
        "image",
        "command",
        "environment",
        "ports",
        "deploy",
        "labels",
        "replicas",
        "healthcheck",
        "test",
        "ulimits",
        "tmpfs",
        "file",
        "external",
        "ipam",
        "config",
        "env_file",
    ]
)
LEAVES = st.none() | st.text(max_size=5) | st.sampled_from(["80:80", "$A", "1s", "a=b", "/a:/b"])
TREES = st.recursive(
    LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=4), max_leaves=12
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(KEYS, TREES, max_size=4),
    st.dictionaries(KEYS, TREES, max_size=3),
)
def test_no_tree_raises_anything_but_a_compose_error(top, web):
    top["services"] = {"web": {"image": "i"} | web}
    with suppress(ComposeError):
        everything(yaml.safe_dump(top), {"A": "1"})


def test_the_path_of_a_file_is_shown_as_it_was_given(shop, monkeypatch):
    monkeypatch.chdir(shop)
    (shop / "bad.yml").write_text("services:\n  web: {imag: x}")
    assert refusal([Path("bad.yml")], None, {}) == (
        "bad.yml:2: services.web.imag: unknown key, did you mean image?"
    )
