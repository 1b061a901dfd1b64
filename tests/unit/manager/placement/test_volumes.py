"""Where the data of a task's volumes is."""

from dataclasses import replace

import pytest

from manager.placement.volumes import Homes
from manager.state import Transaction, View
from pyswarm.model import (
    ContainerSpec,
    Mount,
    MountType,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Task,
    TaskSpec,
    Volume,
    VolumeOnNode,
    VolumeSpec,
)


def view_of(*volumes, down=()):
    tx = Transaction(View(), 1.0)
    for name in ("a", "b"):
        state = NodeState.DOWN if name in down else NodeState.READY
        description = NodeDescription(hostname=f"host-{name}")
        tx.put(Node(id=name, description=description, status=NodeStatus(state=state)))
    for volume in volumes:
        tx.put(volume)
    return tx.view


def data(*nodes, name="data", **changes):
    return Volume(id=f"v-{name}", spec=VolumeSpec(name=name, **changes), nodes=nodes)


def task(slot=1, service="db", *, sources=("data",)):
    mounts = tuple(Mount(source=source, target=f"/{n}") for n, source in enumerate(sources))
    spec = TaskSpec(container=ContainerSpec(mounts=mounts))
    return Task(id="t", service_id="s", service_name=service, slot=slot, spec=spec)


def on(node_id, *slots, **changes):
    return VolumeOnNode(node_id=node_id, slots=slots, **changes)


def home(view, *arguments, **options):
    found = Homes(view).of(task(*arguments, **options))
    return found and (found.node_id, found.reason)


def test_a_slot_goes_back_to_its_data():
    view = view_of(data(on("a", "db.2"), on("b", "db.1")))
    assert home(view) == ("b", "volume data is on node host-b")
    assert home(view, 2) == ("a", "volume data is on node host-a")


def test_a_new_replica_may_go_anywhere():
    assert home(view_of(data(on("a", "db.1"))), 2) is None


def test_another_service_goes_to_the_nodes_that_have_the_volume_and_then_anywhere():
    view = view_of(data(on("a", "db.1")))
    assert home(view, service="backup") == ("a", "volume data is on node host-a")
    assert home(view, 2, "backup") is None


def test_a_released_node_draws_nobody():
    assert home(view_of(data(on("a", released=True)))) is None


def test_data_on_a_node_that_is_down_is_waited_for_in_words():
    node_id, reason = home(view_of(data(on("a", "db.1")), down="a"))
    assert node_id == "a"
    assert reason == (
        "volume data is on node host-a, which is down: it waits for its data "
        "('volume release data' lets it go elsewhere without)"
    )


def test_volumes_of_one_slot_on_two_nodes_are_named():
    view = view_of(data(on("a", "db.1")), data(on("b", "db.1"), name="logs"))
    assert home(view, sources=("data", "logs")) == (
        "",
        "its volumes are on different nodes: data on host-a, logs on host-b",
    )


def test_nobody_begins_to_use_a_volume_that_is_being_removed():
    gone = replace(data(on("a", "db.1")), pending_delete=True)
    assert home(view_of(gone)) == ("", "volume data is being removed")


@pytest.mark.parametrize("kind", ["nfs", "cifs", "tmpfs"])
def test_storage_that_is_not_on_the_node_ties_nobody(kind):
    volume = data(on("a", "db.1"), driver_options={"type": kind, "device": "x"})
    assert home(view_of(volume)) is None


def test_a_name_with_placeholders_means_each_volume_that_fits():
    view = view_of(data(on("b", "db.1"), name="data-1"), data(on("a", "db.2"), name="data-2"))
    assert home(view, sources=("data-{{.Task.Slot}}",))[0] == "b"
    assert home(view, 2, sources=("data-{{.Task.Slot}}",))[0] == "a"


@pytest.mark.parametrize("slot", [0, 3])
def test_global_tasks_and_other_mounts_are_free(slot):
    view = view_of(data(on("a", "db.1")))
    assert home(view, 0) is None
    bind = Mount(type=MountType.BIND, source="/data", target="/data")
    free = replace(task(slot), spec=TaskSpec(container=ContainerSpec(mounts=(bind,))))
    assert Homes(view).of(free) is None
