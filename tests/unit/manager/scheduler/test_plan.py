from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.placement.constraint import satisfied
from manager.placement.failures import FAILURES_MAX
from manager.scheduler.backlog import Backlog
from manager.scheduler.fleet import Fleet
from manager.scheduler.plan import plan, plan_view
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.model import (
    Availability,
    Cluster,
    ClusterSpec,
    GenericResource,
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


def test_binpack_fills_one_node_before_the_next():
    cluster = Cluster(id="c", spec=ClusterSpec(placement_strategy=PlacementStrategy.BINPACK))
    view = state(
        cluster, node("a", cpus=2), node("b", cpus=4), *(task(f"t{i}", cpus=1) for i in range(5))
    )
    # "a" comes first while both are empty, and then it is the fullest until it is full.
    assert Counter(planned(view).placed.values()) == {"a": 2, "b": 3}
    busy = task("old", cpus=1, node_id="b", state=TaskState.RUNNING)
    view = state(cluster, node("a"), node("b"), busy, task("t", cpus=1))
    assert planned(view).placed == {"t": "b"}


def test_spread_over_several_levels():
    placement = Placement(spread=("node.labels.region", "node.labels.rack"))
    view = state(
        node("a", {"region": "r1", "rack": "1"}),
        node("b", {"region": "r1", "rack": "2"}),
        node("c", {"region": "r1", "rack": "2"}),
        node("d", {"region": "r2", "rack": "1"}),
        *(task(f"t{i:02}", placement=placement) for i in range(8)),
    )
    assert Counter(planned(view).placed.values()) == {"a": 2, "b": 1, "c": 1, "d": 4}


def test_a_node_without_the_label_is_a_branch_of_its_own():
    placement = Placement(spread=("node.labels.zone",))
    view = state(
        node("a", {"zone": "x"}),
        node("b", {"zone": "x"}),
        node("c"),
        *(task(f"t{i}", placement=placement) for i in range(4)),
    )
    assert Counter(planned(view).placed.values()) == {"a": 1, "b": 1, "c": 2}


def gpus(key, *names, count=0):
    pieces = [GenericResource(kind="GPU", value=name) for name in names]
    pieces += [GenericResource(kind="SSD", count=count)] if count else []
    made = node(key)
    resources = replace(made.description.resources, generic=tuple(pieces))
    return replace(made, description=replace(made.description, resources=resources))


def wanting(key, kind, count, **fields):
    made = task(key, **fields)
    wanted = Resources(generic=(GenericResource(kind=kind, count=count),))
    requirements = replace(made.spec.resources, reservations=wanted)
    return replace(made, spec=replace(made.spec, resources=requirements))


def test_named_resources_are_given_by_name_and_to_one_task_only():
    view = state(gpus("a", "g2", "g1", "g3"), wanting("t", "GPU", 2), wanting("u", "GPU", 1))
    found = planned(view)
    given = {key: [piece.value for piece in pieces] for key, pieces in found.claimed.items()}
    assert given == {"t": ["g1", "g2"], "u": ["g3"]}


def test_discrete_resources_are_counted():
    view = state(gpus("a", count=3), *(wanting(f"t{i}", "SSD", 2) for i in range(2)))
    found = planned(view)
    assert found.placed == {"t0": "a"}
    assert found.claimed == {"t0": (GenericResource(kind="SSD", count=2),)}
    assert found.refused == {"t1": "no suitable node (insufficient resources on 1 node)"}


def test_a_piece_that_a_task_has_is_not_given_again_until_the_task_has_ended():
    has = (GenericResource(kind="GPU", value="g1"),)
    old = wanting("old", "GPU", 1, node_id="a", state=TaskState.RUNNING, generic_resources=has)
    view = state(gpus("a", "g1"), old, wanting("t", "GPU", 1))
    assert not planned(view).placed
    ended = replace(old, status=TaskStatus(state=TaskState.COMPLETE))
    assert planned(state(gpus("a", "g1"), ended, wanting("t", "GPU", 1))).claimed == {"t": has}


def test_a_long_list_of_refusals_does_not_keep_the_next_service_waiting():
    view = state(
        node("a"),
        *(task(f"t{i}", service="a", cpus=99) for i in range(30)),
        task("u", service="b"),
    )
    fleet, backlog = Fleet.of(view), Backlog.of(view)
    rounds, refused, placed = 0, {}, {}
    while True:
        found = plan(fleet, backlog, 100.0, limit=10)
        rounds, refused, placed = rounds + 1, refused | found.refused, placed | found.placed
        if not found.more:
            break
        for key, reason in found.refused.items():
            old = view.require(Task, key)
            backlog.put(replace(old, status=replace(old.status, error=reason)), 100.0)
    assert (len(refused), placed) == (30, {"u": "a"})
    assert rounds < 9


_ZONES = st.sampled_from(["x", "y", ""])
_NODES = st.lists(
    st.tuples(
        st.integers(1, 8),
        st.integers(1, 8),
        _ZONES,
        st.integers(0, 2),
        st.sampled_from(Availability),
        st.sampled_from([NodeState.READY, NodeState.READY, NodeState.DOWN]),
    ),
    min_size=1,
    max_size=6,
)
_SERVICES = st.lists(
    st.tuples(
        st.integers(0, 6),  # tasks
        st.integers(0, 3),  # cpus
        st.integers(0, 3),  # memory
        st.integers(0, 2),  # GPUs
        st.sampled_from([(), ("node.labels.zone==x",), ("node.labels.zone!=x",)]),
        st.sampled_from([(), ("node.labels.zone",), ("node.labels.none", "node.labels.zone")]),
        st.sampled_from([0, 0, 1, 2]),  # at most on one node
        st.sampled_from([0, 0, 80, 81]),  # host port
    ),
    max_size=5,
)


def drawn(nodes, services, strategy):
    records = [Cluster(id="c", spec=ClusterSpec(placement_strategy=strategy))]
    for number, (cpus, memory, zone, count, availability, is_state) in enumerate(nodes):
        made = node(
            f"n{number}",
            {"zone": zone},
            cpus,
            memory * GIB,
            availability=availability,
            status=NodeStatus(state=is_state),
        )
        names = tuple(GenericResource(kind="GPU", value=f"g{i}") for i in range(count))
        size = replace(made.description.resources, generic=names)
        records.append(replace(made, description=replace(made.description, resources=size)))
    for number, (count, cpus, memory, gpu, texts, spread, most, port) in enumerate(services):
        ports = PortConfig(target_port=80, published_port=port, publish_mode=PublishMode.HOST)
        for slot in range(count):
            made = task(
                f"t{number}-{slot}",
                service=f"s{number}",
                cpus=cpus,
                memory=memory * GIB,
                placement=Placement(constraints=texts, spread=spread, max_replicas=most),
                ports=(ports,) if port else (),
                slot=slot + 1,
            )
            wanted = (GenericResource(kind="GPU", count=gpu),) if gpu else ()
            reserved = replace(made.spec.resources.reservations, generic=wanted)
            requirements = replace(made.spec.resources, reservations=reserved)
            records.append(replace(made, spec=replace(made.spec, resources=requirements)))
    return records


def check_node(record, here, claimed):
    """Nothing is promised twice, and every task may be where it is."""
    size = record.description.resources
    reserved = [each.spec.resources.reservations for each in here]
    assert sum(r.nano_cpus for r in reserved) <= size.nano_cpus
    assert sum(r.memory_bytes for r in reserved) <= size.memory_bytes
    ports = [p.published_port for each in here for p in each.ports]
    assert len(ports) == len(set(ports))
    pieces = [piece.value for each in here for piece in claimed.get(each.id, ())]
    assert len(pieces) == len(set(pieces))
    assert set(pieces) <= {each.value for each in size.generic}
    for each in here:
        assert len(claimed.get(each.id, ())) == sum(
            wanted.count for wanted in each.spec.resources.reservations.generic
        )
        assert record.status.state == NodeState.READY
        assert record.spec.availability == Availability.ACTIVE
        assert satisfied(each.spec.placement.constraints, record)
        most = each.spec.placement.max_replicas
        assert not most or sum(o.service_id == each.service_id for o in here) <= most


@settings(max_examples=250, deadline=None)
@given(_NODES, _SERVICES, st.sampled_from(PlacementStrategy))
def test_no_rule_is_ever_broken_and_every_task_is_placed_or_told_why_not(nodes, services, strategy):
    view = state(*drawn(nodes, services, strategy))
    found = planned(view)
    assert found.placed.keys() | found.refused.keys() == {t.id for t in view.list(Task)}
    assert not found.placed.keys() & found.refused.keys()
    for record in view.list(Node):
        here = [view.require(Task, t) for t, where in found.placed.items() if where == record.id]
        check_node(record, here, found.claimed)
    # What was refused fits nowhere, with all the others where they are now.
    assigned = [
        replace(
            view.require(Task, key),
            node_id=where,
            status=TaskStatus(state=TaskState.ASSIGNED),
            generic_resources=found.claimed.get(key, ()),
        )
        for key, where in found.placed.items()
    ]
    after = Transaction(view, 0.0)
    for each in assigned:
        after.put(each)
    assert not planned(after.view).placed


@settings(max_examples=80, deadline=None)
@given(_NODES, _SERVICES, st.sampled_from(PlacementStrategy), st.randoms(use_true_random=False))
def test_the_same_state_gives_the_same_plan_however_it_came_about(
    nodes, services, strategy, random
):
    records = drawn(nodes, services, strategy)
    first = planned(state(*records))
    random.shuffle(records)
    again = planned(state(*records))
    assert (first.placed, first.claimed) == (again.placed, again.claimed)


@settings(max_examples=80, deadline=None)
@given(st.lists(_ZONES, min_size=1, max_size=8), st.integers(0, 25))
def test_zones_and_the_nodes_in_each_differ_by_one_at_most(zones, count):
    placement = Placement(spread=("node.labels.zone",))
    records = [node(f"n{i}", {"zone": zone}) for i, zone in enumerate(zones)]
    view = state(*records, *(task(f"t{i:02}", placement=placement) for i in range(count)))
    on = Counter(planned(view).placed.values())
    per_zone = {zone: [on[f"n{i}"] for i, z in enumerate(zones) if z == zone] for zone in zones}
    totals = [sum(counts) for counts in per_zone.values()]
    assert max(totals) - min(totals) <= 1
    for counts in per_zone.values():
        assert max(counts) - min(counts) <= 1


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
