"""Unknown keys, wrong types, ignored and refused keys: each with file, line and path."""

import pytest

from pyswarm.compose.marked import ComposeError
from pyswarm.compose.parse import parse
from pyswarm.compose.schema import COMPOSE, check


def service(text):
    return parse("services:\n  web:\n    image: nginx\n" + text, "compose.yml")


def problems(text):
    with pytest.raises(ComposeError) as caught:
        check(service(text))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "    deploy:\n      replicas: three\n",
            "compose.yml:5: services.web.deploy.replicas: must be a whole number, not 'three'",
        ),
        (
            "    enviroment: {A: 1}\n",
            "compose.yml:4: services.web.enviroment: unknown key, did you mean environment?",
        ),
        (
            "    replicas: 3\n",
            "compose.yml:4: services.web.replicas: unknown key, did you mean deploy.replicas?",
        ),
        ("    zzz: 3\n", "compose.yml:4: services.web.zzz: unknown key"),
        (
            "    deploy: {update_config: {paralelism: 1}}\n",
            "compose.yml:4: services.web.deploy.update_config.paralelism: unknown key, "
            "did you mean parallelism?",
        ),
        ("    ports: 80\n", "compose.yml:4: services.web.ports: must be a list, not '80'"),
        (
            "    environment: 5\n",
            "compose.yml:4: services.web.environment: must be a list or a mapping, not '5'",
        ),
        ("    user: [a]\n", "compose.yml:4: services.web.user: must be text, not a list"),
        (
            "    environment:\n      A: {b: c}\n",
            "compose.yml:5: services.web.environment.A: must be text, not a mapping",
        ),
        (
            "    stop_grace_period: 10\n",
            "compose.yml:4: services.web.stop_grace_period: "
            "must be a duration such as 1m30s, not '10'",
        ),
        (
            "    deploy: {mode: globl}\n",
            "compose.yml:4: services.web.deploy.mode: must be one of replicated, global, "
            "replicated-job, global-job, not 'globl'",
        ),
        (
            "    cap_add:\n    -\n",
            "compose.yml:5: services.web.cap_add[0]: must be text, not empty",
        ),
        (
            "    extends: {service: x}\n",
            "compose.yml:4: services.web.extends: not available in this version: "
            "write the service out, or use a YAML anchor and <<",
        ),
        (
            "    deploy: {resources: {reservations: {devices: []}}}\n",
            "compose.yml:4: services.web.deploy.resources.reservations.devices: "
            "not available in this version",
        ),
        ("networks: [a]\n", "compose.yml:4: networks: must be a mapping, not a list"),
        (
            "secrets: {pw: {file: x, template_driver: jinja}}\n",
            "compose.yml:4: secrets.pw.template_driver: must be one of golang, not 'jinja'",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_path(text, problem):
    assert problems(text) == [problem]


def test_every_mistake_is_told_in_one_run():
    assert len(problems("    ports: x\n    user: []\n    zzz: 1\nnetwoks: {}\n")) == 4


def test_a_service_without_anything_is_no_mapping():
    with pytest.raises(ComposeError, match=r"services\.web: must be a mapping, not empty"):
        check(parse("services:\n  web:\n", "c.yml"))


@pytest.mark.parametrize(
    "key",
    ["build", "container_name", "depends_on", "links", "expose", "ipc", "isolation"],
)
def test_what_is_ignored_is_named_with_a_reason(key):
    _, warnings = check(service(f"    {key}: x\n"))
    assert len(warnings) == 1
    assert warnings[0].startswith(f"compose.yml:4: services.web.{key}: ignored: ")


def test_extensions_may_stand_anywhere_and_are_nobodys_business():
    tree, warnings = check(service("    x-note: {a: [1]}\n    deploy: {x-b: 1}\nx-top: 1\n"))
    assert warnings == []
    assert "x-note" not in tree.at("services", "web").entries


def test_numbers_and_flags_are_read_and_text_is_kept():
    tree, _ = check(
        service('    init: "yes"\n    deploy: {replicas: "2"}\n    environment: {V: 1.10, F: true}')
    )
    web = tree.at("services", "web")
    assert web.at("init").value is True
    assert web.at("deploy", "replicas").value == 2
    assert web.at("environment").text_entries == {"V": "1.10", "F": "true"}


def test_a_key_is_used_or_ignored_or_refused_but_never_two_of_them():
    def walk(shape, path):
        known, ignored, refused = set(shape.fields or ()), set(shape.ignored), set(shape.refused)
        assert len(known | ignored | refused) == len(known) + len(ignored) + len(refused), path
        for name, inner in (shape.fields or {}).items():
            walk(inner, f"{path}.{name}")
        for inner in (shape.items, shape.values):
            if inner:
                walk(inner, f"{path}[]")

    walk(COMPOSE, "")


@pytest.mark.parametrize("key", ["devices", "device_cgroup_rules", "gpus"])
def test_devices_are_refused_with_a_word(key):
    (said,) = problems(f"    {key}: x\n")
    assert "tasks get no devices of a host" in said


@pytest.mark.parametrize(
    "line",
    ["oom_score_adj: 2000", "mem_swappiness: 101", "memswap_limit: much", "memswap_limit: -2"],
)
def test_numbers_out_of_their_range_are_refused(line):
    (said,) = problems(f"    {line}\n")
    assert f"services.web.{line.split(':')[0]}" in said
