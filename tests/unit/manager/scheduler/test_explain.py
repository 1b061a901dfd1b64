from dataclasses import replace

import pytest

from manager.scheduler.explain import NAMES_MAX, explain, find
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.cli.task import explained
from pyswarm.errors import NotFound
from pyswarm.model import (
    Availability,
    Cluster,
    ClusterSpec,
    GenericResource,
    Meta,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Placement,
    PlacementStrategy,
    Platform,
    PortConfig,
    PublishMode,
    ResourceRequirements,
    Resources,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

MIB = 1 << 20
WEB = Service(id="s", spec=ServiceSpec(name="web"), spec_version=1)


def node(name, labels=None, availability=Availability.ACTIVE, status=NodeState.READY, **size):
    return Node(
        id=f"id-{name}",
        spec=NodeSpec(labels=labels or {}, availability=availability),
        status=NodeStatus(state=status, address="192.0.2.7"),
        description=NodeDescription(
            hostname=name,
            platform=Platform(os="linux", architecture="amd64"),
            resources=Resources(**{"nano_cpus": 4 * 10**9, "memory_bytes": 1024 * MIB, **size}),
        ),
    )


def task(key, state=TaskState.PENDING, reserved=None, node="", ports=(), **placement):
    return Task(
        id=key,
        service_id="s",
        service_name="web",
        slot=int(key[1:]),
        node_id=node and f"id-{node}",
        spec_version=1,
        ports=ports,
        spec=TaskSpec(
            placement=Placement(**placement),
            resources=ResourceRequirements(reservations=reserved or Resources()),
        ),
        status=TaskStatus(state=state),
    )


def state(*records):
    tx = Transaction(View(), 1.0)
    for record in records:
        tx.put(record)
    return tx.view


def told(view, key, now=10.0):
    found = explain(view, find(view, key), now)
    return {refusal.reason: refusal.nodes for refusal in found.refusals}


def test_each_refused_node_is_told_what_is_wrong_with_it():
    half = Resources(memory_bytes=768 * MIB)
    view = state(
        WEB,
        node("m1", {"zone": "b"}),
        node("m2", {"zone": "b"}, availability=Availability.DRAIN),
        node("w1", {"zone": "b"}),
        node("w2", {"zone": "a"}),
        node("w3", status=NodeState.DOWN),
        node("w4", availability=Availability.PAUSE),
        node("w5"),
        task("t1", TaskState.RUNNING, half, "m1"),
        task("t2", TaskState.RUNNING, half, "w1"),
        task(
            "t3", reserved=Resources(memory_bytes=512 * MIB), constraints=("node.labels.zone==b",)
        ),
    )
    assert told(view, "t3") == {
        "256MiB of memory free, 512MiB reserved": ("m1", "w1"),
        "drained": ("m2",),
        "label zone is a, not b": ("w2",),
        "down; label zone is not set, b is wanted": ("w3",),
        "paused; label zone is not set, b is wanted": ("w4",),
        "label zone is not set, b is wanted": ("w5",),
    }
    found = explain(view, find(view, "t3"), 10.0)
    # In short it is one reason a node, the one that waiting changes least.
    assert found.sentence == (
        "no suitable node (3 nodes not available for new tasks; scheduling constraints not "
        "satisfied on 2 nodes; insufficient resources on 2 nodes)"
    )


def test_a_node_is_told_everything_that_is_wrong_with_it():
    view = state(
        WEB,
        node("m1", availability=Availability.DRAIN, status=NodeState.DOWN),
        node("m2"),
        task("t1", TaskState.RUNNING, Resources(nano_cpus=3 * 10**9), "m2"),
        task(
            "t2",
            reserved=Resources(nano_cpus=2 * 10**9),
            constraints=("node.role==manager",),
            max_replicas=1,
        ),
    )
    assert told(view, "t2") == {
        "down, drained; its role is worker, not manager": ("m1",),
        "its role is worker, not manager; 1 CPUs free, 2 reserved; "
        "1 of at most 1 task of the service": ("m2",),
    }


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (task("t2", constraints=("node.role==manager",)), "its role is worker, not manager"),
        (task("t2", constraints=("node.role!=worker",)), "its role is worker"),
        (task("t2", constraints=("node.id!=id-a",)), "its id is id-a"),
        (task("t2", constraints=("node.ip==198.51.100.0/24",)), None),
        (task("t2", constraints=("engine.labels.disk==ssd",)), None),
        (
            task("t2", platforms=(Platform(os="linux", architecture="arm64"),)),
            "its platform is linux/amd64, the image's is linux/arm64",
        ),
        (task("t2", reserved=Resources(nano_cpus=5 * 10**9)), "4 CPUs free, 5 reserved"),
        (
            task("t2", reserved=Resources(generic=(GenericResource(kind="GPU", count=2),))),
            "1 GPU free, 2 reserved",
        ),
        (
            task(
                "t2",
                ports=(
                    PortConfig(target_port=80, published_port=80, publish_mode=PublishMode.HOST),
                ),
            ),
            "port 80/tcp is in use",
        ),
        (task("t2", max_replicas=1), "1 of at most 1 task of the service"),
    ],
)
def test_the_words_of_each_rule(wanted, reason):
    expected = {
        "node.ip==198.51.100.0/24": "its address is 192.0.2.7, not 198.51.100.0/24",
        "engine.labels.disk==ssd": "engine label disk is not set, ssd is wanted",
    }
    port = (PortConfig(target_port=80, published_port=80, publish_mode=PublishMode.HOST),)
    view = state(
        WEB,
        node("a", generic=(GenericResource(kind="GPU", value="g1"),)),
        task("t1", TaskState.RUNNING, node="a", ports=port),
        wanted,
    )
    words = reason or expected[wanted.spec.placement.constraints[0]]
    assert told(view, "t2") == {words: ("a",)}


def test_of_many_nodes_some_are_named_and_all_are_counted():
    many = [node(f"w{i:03}", availability=Availability.DRAIN) for i in range(200)]
    view = state(WEB, *many, task("t1"))
    [refusal] = explain(view, find(view, "t1"), 10.0).refusals
    assert (len(refusal.nodes), refusal.count) == (NAMES_MAX, 200)


def test_of_many_reasons_the_most_frequent_are_told():
    many = [node(f"w{i:03}", {"n": str(i)}) for i in range(200)]
    view = state(WEB, *many, task("t1", constraints=("node.labels.n==x",)))
    found = explain(view, find(view, "t1"), 10.0)
    assert (len(found.refusals), found.refusal_count) == (20, 200)


def test_a_task_that_has_its_node_is_compared_with_the_other_nodes():
    view = state(
        WEB,
        node("a"),
        node("b"),
        node("c", availability=Availability.DRAIN),
        task("t1", TaskState.RUNNING, node="a"),
        task("t2", TaskState.RUNNING, node="b"),
        task("t3", TaskState.RUNNING, node="b"),
    )
    found = explain(view, find(view, "t1"), 10.0)
    assert found.sentence == "it is on a, which is number 1 of 2 that could have it now"
    assert [(c.node, c.here, c.reason) for c in found.candidates] == [
        ("a", True, "0 other tasks of the service, 0 in all"),
        ("b", False, "2 other tasks of the service, 2 in all"),
    ]
    assert [(r.reason, r.nodes) for r in found.refusals] == [("drained", ("c",))]
    drained = replace(node("a"), spec=NodeSpec(availability=Availability.DRAIN))
    tx = Transaction(view, 2.0)
    tx.put(drained)
    found = explain(tx.view, find(tx.view, "t1"), 10.0)
    assert found.sentence == "it is on a, which would not be chosen today"


def test_preferences_failures_and_the_strategy_are_part_of_the_rank():
    spread = {"spread": ("node.labels.zone",)}
    failed = [task(f"t{i}", TaskState.FAILED, node="a", **spread) for i in range(2, 7)]
    view = state(
        WEB,
        node("a", {"zone": "x"}),
        node("b", {"zone": "y"}),
        *failed,
        task("t8", TaskState.RUNNING, node="b", **spread),
        task("t9", **spread),
    )
    found = explain(view, find(view, "t9"), 10.0)
    assert [(c.node, c.reason) for c in found.candidates] == [
        (
            "a",
            "0 tasks of the service where node.labels.zone is x, 5 tasks of it failed here lately, "
            "0 other tasks of the service, 0 in all",
        ),
        (
            "b",
            "1 task of the service where node.labels.zone is y, "
            "1 other task of the service, 1 in all",
        ),
    ]
    packed = Cluster(id="c", spec=ClusterSpec(placement_strategy=PlacementStrategy.BINPACK))
    view = state(
        WEB,
        packed,
        node("a"),
        node("b"),
        task("t1", TaskState.RUNNING, Resources(nano_cpus=10**9), "b"),
        task("t2"),
    )
    found = explain(view, find(view, "t2"), 10.0)
    assert [(c.node, c.reason) for c in found.candidates] == [
        ("b", "25% reserved, the fullest first"),
        ("a", "0% reserved, the fullest first"),
    ]


def test_a_task_that_is_not_looked_for_a_node_says_why():
    ended, new = task("t1", TaskState.COMPLETE, node="a"), task("t2", TaskState.NEW)
    late = replace(task("t3"), start_after=15.0)
    view = state(WEB, node("a"), ended, new, late)
    assert explain(view, ended, 10.0).sentence == "it has ended (complete)"
    assert explain(view, new, 10.0).sentence == (
        "no node is looked for yet: it waits for its addresses"
    )
    assert explain(view, late, 10.0).sentence == "it waits 5 s more for its restart delay"


def test_a_task_is_found_by_slot_and_by_service():
    tx = Transaction(View(), 1.0)
    for record in (WEB, task("t1", TaskState.RUNNING, node="a"), task("t2")):
        tx.put(record)
    tx.now = 5.0
    newer = replace(task("t3"), slot=1, status=TaskStatus(state=TaskState.RUNNING), meta=Meta())
    tx.put(newer)
    assert find(tx.view, "t1").id == "t1"
    assert find(tx.view, "web.1").id == "t3", "the newest of the slot"
    assert find(tx.view, "web").id == "t2", "the one that waits"
    with pytest.raises(NotFound):
        find(tx.view, "nothing")


def test_two_nodes_of_one_name_are_told_apart():
    twin = replace(node("a"), id="id-other")
    view = state(WEB, node("a"), twin, task("t1", constraints=("node.id==x",)))
    assert sorted(name for nodes in told(view, "t1").values() for name in nodes) == [
        "a (id-a)",
        "a (id-other)",
    ]


def test_what_the_user_reads():
    from manager.control.scheduling.server import _message

    many = [node(f"w{i}", availability=Availability.DRAIN) for i in range(12)]
    view = state(WEB, node("m1"), *many, task("t1", TaskState.RUNNING, node="m1"))
    lines = explained(_message(explain(view, find(view, "t1"), 10.0)))
    assert lines == [
        "web.1 (t1): it is on m1, which is number 1 of 1 that could have it now",
        "",
        "Could have it (1 of 13 nodes):",
        "  1. m1 (here): 0 other tasks of the service, 0 in all",
        "",
        "Refused:",
        "  w0, w1, w10, w11, w2, w3, w4, w5, w6, w7 and 2 nodes more: drained",
    ]
