"""Templates in the content of secrets and configs."""

import pytest

from agent.payload_templates import contents
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    NodeDescription,
    PayloadSpec,
    Secret,
    Task,
    TaskSpec,
)

SECRETS = {"s": Secret(id="s", spec=PayloadSpec(name="pw", data=b"hush {{not looked at}}"))}
CONTAINER = ContainerSpec(
    env=("WHO=me", "EMPTY="),
    secrets=(FileReference(id="s", name="pw", target="db_password"),),
    configs=(FileReference(id="c", name="conf", target="/conf"),),
)


def config(text, driver="golang"):
    return {"c": Config(id="c", spec=PayloadSpec(name="conf", data=text, template_driver=driver))}


def filled(text, driver="golang", held=False):
    task = Task(
        id="t",
        service_name="web",
        service_labels={"tier": "front"},
        slot=3,
        node_id="n",
        spec=TaskSpec(container=CONTAINER),
    )
    node = NodeDescription(hostname="host-1")
    return contents(task, CONTAINER, node, SECRETS, config(text, driver), held=held)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (b"{{.Service.Name}}.{{ .Task.Slot }}@{{.Node.Hostname}}", b"web.3@host-1"),
        (b'{{env "WHO"}}{{env "EMPTY"}}{{env "NONE"}}', b"me"),
        (b"{{env `WHO`}}", b"me"),
        (b'{{secret "db_password"}}', b"hush {{not looked at}}"),
        (b'{{secret "pw"}}', b"hush {{not looked at}}"),
        (b'{{index .Service.Labels "tier"}}', b"front"),
        (b"a \n {{- .Task.Slot -}} \n b", b"a3b"),
        (b"a{{/* a remark */}}b", b"ab"),
        (b"\xff{{.Task.Slot}}\xfe", b"\xff3\xfe"),
        (b"no } place { at all", b"no } place { at all"),
    ],
)
def test_a_template_is_filled(text, result):
    done = filled(text)
    assert done.configs["c"] == result
    assert done.private == {"c"}, "it may hold secrets, and stays in memory"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{{secret "other"}}', 'config conf: secret target "other" not found'),
        (b"{{range .Tasks}}", "config conf: {{range ...}} has no {{end}}"),
    ],
)
def test_what_cannot_be_filled_is_refused_with_the_name_of_the_file(text, problem):
    with pytest.raises(InvalidArgument) as raised:
        filled(text)
    assert raised.value.message.startswith(problem)


def test_without_a_driver_the_content_is_as_it_is():
    done = filled(b"{{.Service.Name}}", driver="")
    assert done.configs["c"] == b"{{.Service.Name}}"
    assert done.private == frozenset()


def test_what_is_in_memory_from_before_a_restart_is_not_made_again():
    done = filled(b"{{.Service.Name}}", held=True)
    assert (done.secrets, done.configs) == ({}, {})
