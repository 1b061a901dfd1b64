"""What is kept by changes is what a new leader would read from the state."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from manager.placement.constraint import satisfied
from manager.scheduler.fleet import Fleet
from manager.scheduler.masks import Masks, positions
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.model import (
    Availability,
    GenericResource,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Placement,
    ResourceRequirements,
    Resources,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

NODES = ("n1", "n2", "n3")


def node(key, zone="a", availability=Availability.ACTIVE):
    gpus = tuple(GenericResource(kind="GPU", value=f"{key}-{i}") for i in range(2))
    return Node(
        id=key,
        spec=NodeSpec(labels={"zone": zone}, availability=availability),
        status=NodeStatus(state=NodeState.READY),
        description=NodeDescription(
            hostname=key, resources=Resources(nano_cpus=8, memory_bytes=8, generic=gpus)
        ),
    )


def facts(fleet):
    _ = fleet.masks
    return {
        "infos": {
            key: (
                replace(info, node=None, held={}, generic=None),
                set(info.held),
                info.generic.free("GPU"),
            )
            for key, info in fleet.infos.items()
        },
        "failing": {key: set(nodes) for key, nodes in fleet.failing.items()},
        "orders": fleet.orders,
        "homes": {key: counts for key, counts in fleet.homes.items() if counts},
    }


_NODES = st.builds(node, st.sampled_from(NODES), st.sampled_from("ab"), st.sampled_from([0, 1, 2]))
_TASKS = st.builds(
    lambda key, service, where, state, desired, cpus, gpu: Task(
        id=key,
        service_id=service,
        node_id=where,
        status=TaskStatus(state=state),
        desired_state=desired,
        spec=TaskSpec(resources=ResourceRequirements(reservations=Resources(nano_cpus=cpus))),
        generic_resources=(GenericResource(kind="GPU", value=f"{where}-{gpu}"),) if gpu < 2 else (),
    ),
    st.sampled_from([f"t{i}" for i in range(6)]),
    st.sampled_from("sx"),
    st.just(""),
    st.sampled_from(
        [
            TaskState.PENDING,
            TaskState.ASSIGNED,
            TaskState.RUNNING,
            TaskState.FAILED,
            TaskState.COMPLETE,
        ]
    ),
    st.sampled_from([TaskState.RUNNING, TaskState.SHUTDOWN]),
    st.integers(0, 2),
    st.integers(0, 3),
)
_STEPS = st.lists(st.one_of(_NODES, _TASKS, st.sampled_from([f"t{i}" for i in range(6)])))


@settings(max_examples=200, deadline=None)
@given(_STEPS, st.lists(st.booleans(), max_size=60))
def test_kept_by_changes_it_is_as_if_read_anew(steps, looks):
    tx = Transaction(View(), 0.0)
    for key in NODES:
        tx.put(node(key))
    fleet = Fleet.of(tx.view)
    for number, step in enumerate(steps):
        if number < len(looks) and looks[number]:
            _ = fleet.masks  # the sets exist from here on, and are kept too
        if isinstance(step, Node):
            tx.put(step)
            fleet.put_node(step)
        elif isinstance(step, Task):
            # A task keeps its node and its service for its life.
            where = NODES[int(step.id[1]) % 3]
            # Each task of a node has a piece of its own: no two are given the same.
            own = f"{where}-{int(step.id[1]) // 3}"
            pieces = tuple(replace(g, value=own) for g in step.generic_resources)
            step = replace(
                step, generic_resources=pieces, node_id=where, service_id="sx"[int(step.id[1]) % 2]
            )
            old = tx.get(Task, step.id)
            if old is not None and old.status.state > step.status.state:
                continue  # and its state never goes back
            tx.put(step)
            fleet.put_task(step)
        elif (old := tx.get(Task, step)) is not None:
            tx.delete(Task, step)
            fleet.drop_task(old)
    assert facts(fleet) == facts(Fleet.of(tx.view))


def test_a_change_that_comes_twice_counts_once():
    fleet = Fleet()
    fleet.put_node(node("n1"))
    running = Task(id="t", service_id="s", node_id="n1", status=TaskStatus(state=TaskState.RUNNING))
    fleet.put_task(running)
    fleet.put_task(running)
    assert fleet.infos["n1"].tasks == 1
    ended = replace(running, status=TaskStatus(state=TaskState.COMPLETE))
    assert [fleet.put_task(ended), fleet.put_task(ended)] == [True, False]
    assert fleet.infos["n1"].tasks == 0
    assert not fleet.homes


def test_a_node_that_only_says_the_same_again_changes_nothing():
    fleet = Fleet()
    assert fleet.put_node(node("n1"))
    assert not fleet.put_node(node("n1"))
    assert fleet.put_node(node("n1", availability=Availability.DRAIN))


_TEXTS = st.lists(
    st.sampled_from(
        [
            "node.labels.zone==a",
            "node.labels.zone!=A",
            "node.labels.none!=a",
            "node.labels.none==a",
            "node.id==n2",
            "node.hostname!=N3",
            "node.role==worker",
            "node.ip!=192.0.2.0/24",
            "this is none",
        ]
    ),
    max_size=3,
)


@given(st.lists(_NODES, unique_by=lambda each: each.id), _TEXTS)
def test_a_set_has_just_the_nodes_that_satisfy_the_constraints(nodes, texts):
    found = Masks(nodes).members(Placement(constraints=tuple(texts)))
    wanted = [
        place
        for place, each in enumerate(nodes)
        if each.spec.availability == Availability.ACTIVE and satisfied(texts, each)
    ]
    assert list(positions(found)) == wanted
