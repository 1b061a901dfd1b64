"""Who uses a volume, and what may be done to it."""

from dataclasses import replace

import pytest

from manager.control import volume_use
from manager.state import Transaction, View
from pyswarm.errors import AlreadyExists, FailedPrecondition
from pyswarm.model import (
    ContainerSpec,
    Mount,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    Volume,
    VolumeOnNode,
    VolumeSpec,
)

MOUNTS = TaskSpec(container=ContainerSpec(mounts=(Mount(source="data", target="/data"),)))
DATA = Volume(id="v", spec=VolumeSpec(name="data"))
DB = Service(id="s", spec=ServiceSpec(name="db", task=MOUNTS))


def view_of(*records):
    tx = Transaction(View(), 1.0)
    for record in records:
        tx.put(record)
    return tx.view


def refusal(*records):
    users = volume_use.users(view_of(DATA, *records)).get("data")
    with pytest.raises(FailedPrecondition) as raised:
        volume_use.require_unused(DATA, users)
    return raised.value.message


def test_a_volume_in_use_is_not_removed():
    assert refusal(DB) == "remove data: volume is in use by the following service: db"
    running = Task(id="t", spec=MOUNTS, status=TaskStatus(state=TaskState.RUNNING))
    assert refusal(DB, running) == "remove data: volume is in use - [t]"


def test_what_has_ended_or_is_going_uses_nothing():
    ended = Task(id="t", spec=MOUNTS, status=TaskStatus(state=TaskState.FAILED))
    assert volume_use.users(view_of(DATA, replace(DB, pending_delete=True), ended)) == {}


def test_creating_a_volume_again_is_no_error_where_it_is_the_same():
    volume_use.require_same(DATA, DATA.spec)
    with pytest.raises(AlreadyExists, match="other options"):
        volume_use.require_same(DATA, replace(DATA.spec, driver_options={"type": "tmpfs"}))
    with pytest.raises(AlreadyExists, match="being removed"):
        volume_use.require_same(replace(DATA, pending_delete=True), DATA.spec)


def test_a_name_that_nobody_gave_has_64_hexadecimal_digits():
    assert not volume_use.has_no_given_name(DATA)
    assert volume_use.has_no_given_name(replace(DATA, spec=VolumeSpec(name="0f" * 32)))


def test_data_is_given_up_on_nodes_that_are_away_or_on_one_that_is_named():
    def node(name, state):
        description = NodeDescription(hostname=f"host-{name}")
        return Node(id=name, description=description, status=NodeStatus(state=state))

    view = view_of(node("a", NodeState.READY), node("b", NodeState.DOWN))
    nodes = tuple(VolumeOnNode(node_id=n, slots=(f"db.{k}",)) for k, n in enumerate("ab", 1))
    volume = replace(DATA, nodes=nodes)
    away, names = volume_use.released(view, volume, "")
    assert names == ["host-b"]
    assert [(n.slots, n.released) for n in away.nodes] == [(("db.1",), False), ((), True)]
    assert volume_use.released(view, volume, "a")[1] == ["host-a"]
    assert volume_use.released(view, away, "b")[1] == []
