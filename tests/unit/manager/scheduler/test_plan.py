from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.scheduler.fleet import Fleet
from manager.scheduler.nodeinfo import FAILURES_MAX
from manager.scheduler.plan import plan_view
from manager.state.changes import Changed
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.model import (
    Availability,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Placement,
    Platform,
    PortConfig,
    PublishMode,
    ResourceRequirements,
    Resources,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

GIB = 1 << 30


def node(name, labels=None, cpus=4, memory=4 * GIB, **fields):
    defaults = {"status": NodeStatus(state=NodeState.READY)}
    return Node(
        id=name,
        spec=NodeSpec(labels=labels or {}, availability=fields.pop("availability", 0)),
        description=NodeDescription(
            hostname=name,
            platform=Platform(os="linux", architecture="x86_64"),
            resources=Resources(nano_cpus=int(cpus * 1e9), memory_bytes=memory),
        ),
        **(defaults | fields),
    )


def task(key, service="s", cpus=0.0, memory=0, state=TaskState.PENDING, placement=None, **fields):
    reserved = Resources(nano_cpus=int(cpus * 1e9), memory_bytes=memory)
    return Task(
        id=key,
        service_id=service,
        spec=TaskSpec(
            resources=ResourceRequirements(reservations=reserved),
            placement=placement or Placement(),
        ),
        status=TaskStatus(state=state, timestamp=100.0),
        **fields,
    )


def state(*records):
    tx = Transaction(View(), 0.0)
    for record in records:
        tx.put(record)
    return tx.view


def planned(view, now=100.0, **options):
    return plan_view(view, now, **options)


def test_tasks_spread_evenly_over_equal_nodes():
    view = state(*(node(f"n{i}") for i in range(3)), *(task(f"t{i}") for i in range(7)))
    counts = Counter(planned(view).placed.values())
    assert sorted(counts.values()) == [2, 2, 3]


def test_a_tie_goes_to_the_smallest_id():
    assert planned(state(node("b"), node("a"), task("t"))).placed == {"t": "a"}


def test_the_fewest_tasks_of_the_service_count_before_the_fewest_in_all():
    running = {"state": TaskState.RUNNING}
    others = [task(f"o{i}", service="other", node_id="a", **running) for i in range(5)]
    own = task("own", node_id="b", **running)
    view = state(node("a"), node("b"), *others, own, task("t"))
    assert planned(view).placed == {"t": "a"}


def test_a_node_on_which_the_spec_keeps_failing_comes_last():
    failed = [
        task(f"f{i}", node_id="a", state=TaskState.FAILED, desired_state=TaskState.SHUTDOWN)
        for i in range(FAILURES_MAX)
    ]
    busy = task("own", node_id="b", state=TaskState.RUNNING)
    view = state(node("a"), node("b"), *failed, busy, task("t"))
    assert planned(view).placed == {"t": "b"}
    assert planned(view, now=100.0 + 301).placed == {"t": "a"}


@pytest.mark.parametrize(
    ("nodes", "wanted", "reason"),
    [
        ([], task("t"), "no suitable node"),
        (
            [node("a", status=NodeStatus(state=NodeState.DOWN)), node("b", availability=1)],
            task("t"),
            "no suitable node (2 nodes not available for new tasks)",
        ),
        (
            [node("a"), node("b"), node("c"), node("d", availability=Availability.DRAIN)],
            task("t", cpus=5),
            "no suitable node (insufficient resources on 3 nodes; "
            "1 node not available for new tasks)",
        ),
        (
            [node("a")],
            task("t", placement=Placement(constraints=("node.role==manager",))),
            "no suitable node (scheduling constraints not satisfied on 1 node)",
        ),
        (
            [node("a")],
            task("t", placement=Placement(platforms=(Platform(os="linux", architecture="arm"),))),
            "no suitable node (unsupported platform on 1 node)",
        ),
    ],
)
def test_a_refusal_says_why(nodes, wanted, reason):
    found = planned(state(*nodes, wanted))
    assert (dict(found.placed), dict(found.refused)) == ({}, {"t": reason})


def test_a_reason_that_is_already_there_is_no_news():
    wanted = task("t")
    status = replace(wanted.status, error="no suitable node")
    assert planned(state(replace(wanted, status=status))).refused == {}


def test_a_host_port_is_taken_until_its_task_has_ended():
    port = (PortConfig(target_port=80, published_port=80, publish_mode=PublishMode.HOST),)
    stopping = task(
        "old",
        node_id="a",
        state=TaskState.RUNNING,
        desired_state=TaskState.SHUTDOWN,
        ports=port,
    )
    view = state(node("a"), stopping, task("t", ports=port))
    assert planned(view).refused == {
        "t": "no suitable node (host-mode port already in use on 1 node)"
    }
    ended = replace(stopping, status=TaskStatus(state=TaskState.SHUTDOWN))
    assert planned(state(node("a"), ended, task("t", ports=port))).placed == {"t": "a"}


def test_no_more_replicas_than_allowed_go_to_a_node():
    few = Placement(max_replicas=2)
    view = state(node("a"), node("b"), *(task(f"t{i}", placement=few) for i in range(5)))
    found = planned(view)
    assert Counter(found.placed.values()) == {"a": 2, "b": 2}
    assert list(found.refused.values()) == [
        "no suitable node (max replicas per node limit exceeded on 2 nodes)"
    ]


def test_a_task_waits_for_its_start():
    found = planned(state(node("a"), task("t", start_after=105.0), task("u", start_after=99.0)))
    assert (found.placed, found.wake_at) == ({"u": "a"}, 105.0)


def test_a_task_that_is_bound_goes_to_its_node_or_says_why_not():
    view = state(
        node("a"),
        node("b", availability=Availability.PAUSE),
        task("t", node_id="a"),
        task("u", node_id="b"),
        task("v", node_id="gone"),
    )
    found = planned(view)
    assert found.placed == {"t": "a"}
    assert found.refused == {
        "u": "no suitable node (1 node not available for new tasks)",
        "v": "no suitable node",
    }


def test_a_task_that_is_not_wanted_is_left_alone():
    view = state(node("a"), task("t", desired_state=TaskState.SHUTDOWN))
    assert not planned(view).placed


def test_spread_preferences_divide_by_label_before_by_node():
    placement = Placement(spread=("node.labels.zone",))
    view = state(
        *(node(f"e{i}", {"zone": "east"}) for i in range(3)),
        node("w0", {"zone": "west"}),
        *(task(f"t{i}", placement=placement) for i in range(6)),
    )
    counts = Counter(planned(view).placed.values())
    assert counts == {"w0": 3, "e0": 1, "e1": 1, "e2": 1}


def test_a_full_branch_leaves_the_rest_to_the_others():
    placement = Placement(spread=("node.labels.zone",))
    view = state(
        node("e", {"zone": "east"}, cpus=1),
        node("w", {"zone": "west"}, cpus=10),
        *(task(f"t{i}", cpus=1, placement=placement) for i in range(6)),
    )
    assert Counter(planned(view).placed.values()) == {"e": 1, "w": 5}


def test_a_round_stops_at_its_limit_and_says_that_there_is_more():
    view = state(node("a"), *(task(f"t{i}") for i in range(9)))
    found = planned(view, limit=4)
    assert (len(found.placed), found.more) == (4, True)
    assert not planned(view, limit=100).more


_NODES = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.sampled_from(["x", "y", ""])),
    min_size=1,
    max_size=6,
)
_TASKS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from([(), ("node.labels.zone==x",), ("node.labels.zone!=x",)]),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(_NODES, _TASKS)
def test_no_node_is_promised_more_than_it_has_and_constraints_hold(nodes, tasks):
    records = [
        node(f"n{i}", {"zone": zone}, cpus, memory * GIB)
        for i, (cpus, memory, zone) in enumerate(nodes)
    ]
    wanted = [
        task(
            f"t{i:02}",
            service=f"{name}{cpus}{memory}{constraints}",
            cpus=cpus,
            memory=memory * GIB,
            placement=Placement(constraints=constraints),
        )
        for i, (name, cpus, memory, constraints) in enumerate(tasks)
    ]
    view = state(*records, *wanted)
    found = planned(view)
    assert len(found.placed) + len(found.refused) == len(wanted)
    for record, (cpus, memory, zone) in zip(records, nodes, strict=True):
        here = [view.require(Task, t) for t, where in found.placed.items() if where == record.id]
        reserved = [t.spec.resources.reservations for t in here]
        assert sum(r.nano_cpus for r in reserved) <= cpus * 10**9
        assert sum(r.memory_bytes for r in reserved) <= memory * GIB
        for one in here:
            for text in one.spec.placement.constraints:
                assert (zone == "x") == ("==" in text)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6), st.integers(0, 25), st.integers(0, 25))
def test_on_equal_nodes_the_counts_differ_by_one_at_most(nodes, first, second):
    records = [node(f"n{i}") for i in range(nodes)]
    view = state(*records, *(task(f"a{i:02}", service="a") for i in range(first)))
    placed = planned(view).placed
    running = [
        task(t, service="a", node_id=where, state=TaskState.RUNNING) for t, where in placed.items()
    ]
    view = state(*records, *running, *(task(f"b{i:02}", service="a") for i in range(second)))
    counts = Counter([*placed.values(), *planned(view).placed.values()])
    spread = [counts.get(record.id, 0) for record in records]
    assert max(spread) - min(spread) <= 1
