from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pyswarm.model import (
    Availability,
    Cluster,
    ClusterSpec,
    Placement,
    PlacementStrategy,
    ResourceRequirements,
    Resources,
    ServiceSpec,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from pyswarm.testing.world import World

ZONE = Placement(spread=("node.labels.zone",))


def spec(replicas, placement=ZONE):
    return ServiceSpec(name="web", replicas=replicas, task=TaskSpec(placement=placement))


def scaled(world, service_id, replicas, placement=ZONE):
    world.change(service_id, spec(replicas, placement))
    world.settle()
    return world.running(service_id)


def zones(world, tasks, labels):
    return Counter(labels[task.node_id]["zone"] for task in tasks)


def world(*names):
    labels = {f"node-{i}": {"zone": name} for i, name in enumerate(names, 1)}
    return World(len(names), labels), labels


def test_the_zones_stay_even_although_one_has_more_nodes():
    w, labels = world("a", "a", "a", "b")
    s = w.create(spec(8))
    w.settle()
    assert zones(w, w.running(s), labels) == {"a": 4, "b": 4}
    for replicas in (6, 4, 2):
        left = scaled(w, s, replicas)
        assert set(zones(w, left, labels).values()) == {replicas // 2}
    # By node alone the three tasks of node-4 would have gone first.


def test_within_a_zone_the_fullest_node_gives_first():
    w, _ = world("a", "a")
    s = w.create(spec(5))
    w.settle()
    assert Counter(t.node_id for t in scaled(w, s, 4)) == {"node-1": 2, "node-2": 2}
    assert Counter(t.node_id for t in scaled(w, s, 3)).total() == 3


def test_a_paused_node_gives_before_the_others():
    w, _ = world("a", "a", "a")
    s = w.create(spec(6))
    w.settle()
    w.set_node("node-2", availability=Availability.PAUSE)
    assert Counter(t.node_id for t in scaled(w, s, 4)) == {"node-1": 2, "node-3": 2}


def test_a_node_on_which_tasks_failed_gives_before_the_others():
    w, _ = world("a", "a", "a")
    s = w.create(spec(6))
    w.settle()
    [first, second] = [t for t in w.running(s) if t.node_id == "node-3"]
    # One failure there is in the history; its slot has a new task by now.
    failed = replace(
        first,
        id="failed",
        desired_state=TaskState.SHUTDOWN,
        status=TaskStatus(state=TaskState.FAILED, timestamp=w.now),
    )
    w.write(lambda tx: tx.put(failed))
    left = scaled(w, s, 4)
    assert Counter(t.node_id for t in left) == {"node-1": 2, "node-2": 2}
    assert second.id not in {t.id for t in left}


def test_what_does_not_run_goes_first():
    w, _ = world("a", "a")
    s = w.create(spec(4))
    w.settle()
    big = ResourceRequirements(reservations=Resources(nano_cpus=99 * 10**9))
    waiting = w.running(s)[0]
    stuck = replace(
        waiting,
        node_id="",
        spec=replace(waiting.spec, resources=big),
        status=TaskStatus(state=TaskState.PENDING),
    )
    w.write(lambda tx: tx.put(stuck))
    left = scaled(w, s, 3)
    assert len(left) == 3
    assert stuck.id not in {t.id for t in left}


def test_with_binpack_nodes_become_free():
    w, _ = world("a", "a", "a")
    packed = ClusterSpec(placement_strategy=PlacementStrategy.BINPACK)
    w.write(lambda tx: tx.put(Cluster(id="cluster", spec=packed)))
    half = ResourceRequirements(reservations=Resources(nano_cpus=2 * 10**9))
    task = TaskSpec(resources=half)
    s = w.create(ServiceSpec(name="web", replicas=5, task=task))
    w.settle()
    assert Counter(t.node_id for t in w.running(s)) == {"node-1": 2, "node-2": 2, "node-3": 1}
    w.change(s, ServiceSpec(name="web", replicas=3, task=task))
    w.settle()
    assert sorted(Counter(t.node_id for t in w.running(s)).values()) == [1, 2]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=5),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_zones_differ_by_one_at_most_before_and_after(names, first, second):
    w, labels = world(*names)
    s = w.create(spec(first))
    w.settle()
    left = scaled(w, s, second)
    counts = zones(w, left, labels)
    spread = [counts[name] for name in set(names)]
    assert sum(spread) == second
    assert max(spread) - min(spread) <= 1
