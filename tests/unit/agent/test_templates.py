from dataclasses import replace

import pytest

from agent.templates import expand_container
from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, Mount, NodeDescription, Platform, Task, TaskSpec

NODE = NodeDescription(hostname="alpha", platform=Platform(os="linux", architecture="amd64"))


def expanded(**container):
    task = Task(
        id="tid",
        service_id="sid",
        service_name="web",
        service_labels={"tier": "front", "a.b": "dotted"},
        slot=3,
        node_id="nid",
        spec=TaskSpec(container=ContainerSpec(**container)),
    )
    return expand_container(task, NODE)


def test_every_placeholder_is_filled():
    got = expanded(
        env=("A={{.Service.Name}}-{{.Task.Slot}}", "B={{ .Node.Platform.OS }}", "C=plain"),
        hostname="{{.Node.Hostname}}",
        mounts=(Mount(source="data-{{.Task.Slot}}", target="/{{.Service.Labels.tier}}"),),
    )
    assert got.env == ("A=web-3", "B=linux", "C=plain")
    assert got.hostname == "alpha"
    assert got.mounts == (replace(Mount(), source="data-3", target="/front"),)


def test_labels_with_dots_need_index():
    assert expanded(env=('X={{index .Service.Labels "a.b"}}',)).env == ("X=dotted",)
    assert expanded(env=('X={{index .Service.Labels "none"}}',)).env == ("X=",)


def test_an_unknown_placeholder_is_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"\.Task\.Colour"):
        expanded(env=("X={{.Task.Colour}}",))
