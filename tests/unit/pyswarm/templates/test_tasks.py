"""A service's placeholders: filled on the node, checked with examples when it is created."""

from dataclasses import replace

import pytest

from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    Mount,
    NodeDescription,
    Platform,
    ServiceSpec,
    Task,
    TaskSpec,
)
from pyswarm.templates.tasks import check, expand_container

NODE = NodeDescription(hostname="alpha", platform=Platform(os="linux", architecture="amd64"))


def expanded(slot=3, **container):
    task = Task(
        id="tid",
        service_id="sid",
        service_name="web",
        service_labels={"tier": "front", "a.b": "dotted"},
        slot=slot,
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


def test_a_global_tasks_slot_is_its_node():
    assert expanded(slot=0, hostname="h-{{.Task.Slot}}").hostname == "h-nid"


def test_an_unknown_placeholder_is_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"\.Task\.Colour is not known, use one of ID, Name"):
        expanded(env=("X={{.Task.Colour}}",))


def checked(labels=(), **container):
    spec = ServiceSpec(
        name="web", labels=dict(labels), task=TaskSpec(container=ContainerSpec(**container))
    )
    return check(spec)


def test_the_example_has_the_services_own_labels():
    env = ("X={{.Service.Labels.tier}}",)
    assert checked({"tier": "front"}, env=env).env == ("X=front",)
    with pytest.raises(InvalidArgument, match="tier is not known"):
        checked(env=env)


def test_a_mounts_labels_and_target_are_filled_too():
    mount = Mount(source="v", target="/{{.Task.Slot}}", labels={"node": "{{.Node.Hostname}}"})
    (filled,) = checked(mounts=(mount,)).mounts
    assert (filled.target, filled.labels) == ("/1", {"node": "node-1"})
