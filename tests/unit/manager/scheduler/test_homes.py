"""Tasks with volumes: at home, or nowhere, with the reason."""

from manager.scheduler.nodeinfo import survey
from manager.scheduler.plan import plan
from manager.state import Transaction, View
from pyswarm.model import (
    Availability,
    ContainerSpec,
    Mount,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    Volume,
    VolumeOnNode,
    VolumeSpec,
)

SPEC = TaskSpec(container=ContainerSpec(mounts=(Mount(source="data", target="/data"),)))


def planned(*homes, availability=Availability.ACTIVE):
    """Three pending tasks; the k-th home has the data of slot k. Node b has this availability."""
    tx = Transaction(View(), 1.0)
    for name in "abc":
        wanted = availability if name == "b" else Availability.ACTIVE
        tx.put(
            Node(
                id=name,
                spec=NodeSpec(availability=wanted),
                description=NodeDescription(hostname=name),
                status=NodeStatus(state=NodeState.READY),
            )
        )
    nodes = tuple(
        VolumeOnNode(node_id=home, slots=(f"db.{slot}",)) for slot, home in enumerate(homes, 1)
    )
    tx.put(Volume(id="v", spec=VolumeSpec(name="data"), nodes=nodes))
    for slot in (1, 2, 3):
        status = TaskStatus(state=TaskState.PENDING)
        tx.put(
            Task(
                id=f"t{slot}",
                service_id="s",
                service_name="db",
                slot=slot,
                spec=SPEC,
                status=status,
            )
        )
    infos = {n.id: survey(tx.view, n) for n in tx.view.list(Node)}
    return plan(tx.view, infos, 1.0)


def test_slots_with_data_go_home_and_the_others_spread_around_them():
    assert planned("c", "b").placed == {"t1": "c", "t2": "b", "t3": "a"}


def test_a_drained_home_is_waited_for():
    found = planned("c", "b", availability=Availability.DRAIN)
    assert found.placed == {"t1": "c", "t3": "a"}
    assert found.refused == {
        "t2": "no suitable node (1 node not available for new tasks): volume data is on node b"
    }
