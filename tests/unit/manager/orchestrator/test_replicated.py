from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manager.placement.failures import FAILURE_SECONDS, FAILURES_MAX
from pyswarm.model import (
    Availability,
    ClusterSpec,
    Node,
    NodeState,
    Placement,
    ResourceRequirements,
    Resources,
    RestartCondition,
    RestartPolicy,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
)
from pyswarm.testing.world import World


def spec(replicas=3, name="web", **task):
    return ServiceSpec(name=name, replicas=replicas, task=TaskSpec(**task))


def slots(world, service_id):
    return [task.slot for task in world.running(service_id)]


def test_a_service_gets_its_tasks_spread_over_the_nodes():
    w = World(3)
    s = w.create(spec(6))
    w.settle()
    assert slots(w, s) == [1, 2, 3, 4, 5, 6]
    assert set(Counter(t.node_id for t in w.running(s)).values()) == {2}


def test_scaling_up_fills_the_lowest_free_numbers():
    w = World(3)
    s = w.create(spec(3))
    w.settle()
    w.change(s, spec(1))
    w.settle()
    [kept] = slots(w, s)
    w.change(s, spec(4))
    w.settle()
    assert slots(w, s) == [1, 2, 3, 4]
    assert kept in (1, 2, 3)


def test_scaling_down_takes_what_does_not_run_first_then_the_fullest_nodes():
    w = World(2)
    s = w.create(spec(3))
    w.settle()
    full = Counter(t.node_id for t in w.running(s)).most_common(1)[0][0]
    w.change(s, spec(2))
    w.settle()
    assert Counter(t.node_id for t in w.running(s)) == {"node-1": 1, "node-2": 1}
    assert full in ("node-1", "node-2")
    big = ResourceRequirements(reservations=Resources(nano_cpus=3 * 10**9))
    other = w.create(spec(4, "big", resources=big))
    w.settle()
    running = slots(w, other)
    assert len(running) == 2
    w.change(other, spec(2, "big", resources=big))
    w.settle()
    assert slots(w, other) == running
    assert w.view.count(Task) == 4


def test_a_removed_slot_leaves_no_record():
    w = World(2)
    s = w.create(spec(5))
    w.settle()
    w.change(s, spec(0))
    w.settle()
    assert w.view.tasks_of_service(s) == []


def test_a_slot_that_is_lost_and_given_up_in_one_round_leaves_nothing():
    w = World(3)
    s = w.create(spec(3))
    w.settle()
    w.set_node("node-2", NodeState.DOWN)
    w.change(s, spec(2))
    w.settle()
    assert len(slots(w, s)) == 2
    w.set_node("node-2", NodeState.READY)
    w.settle()
    assert w.view.count(Task) == 2


def test_a_lost_node_is_replaced_at_once_and_stopped_when_it_returns():
    w = World(3)
    s = w.create(spec(6))
    w.settle()
    lost = [t for t in w.running(s) if t.node_id == "node-2"]
    w.set_node("node-2", NodeState.DOWN)
    w.run(5)
    assert slots(w, s) == [1, 2, 3, 4, 5, 6]
    assert all(t.node_id != "node-2" for t in w.running(s))
    for task in lost:
        found = w.view.require(Task, task.id)
        assert found.desired_state == TaskState.SHUTDOWN
        assert found.status.state == TaskState.RUNNING
    w.set_node("node-2", NodeState.READY)
    w.settle()
    assert {w.view.require(Task, t.id).status.state for t in lost} == {TaskState.SHUTDOWN}


def test_a_removed_nodes_tasks_are_orphaned():
    w = World(2)
    s = w.create(spec(2))
    w.settle()
    [lost] = [t.id for t in w.running(s) if t.node_id == "node-1"]
    w.set_node("node-1", NodeState.DOWN)
    w.run(5)
    w.write(lambda tx: tx.delete(Node, "node-1"))
    w.settle()
    assert w.view.require(Task, lost).status.state == TaskState.ORPHANED
    assert {t.node_id for t in w.running(s)} == {"node-2"}


def test_a_drained_node_empties_and_a_paused_one_keeps_what_it_has():
    w = World(2)
    s = w.create(spec(4))
    w.settle()
    w.set_node("node-1", availability=Availability.PAUSE)
    w.change(s, spec(6))
    w.settle()
    assert Counter(t.node_id for t in w.running(s)) == {"node-1": 2, "node-2": 4}
    w.set_node("node-1", availability=Availability.DRAIN)
    w.settle()
    assert Counter(t.node_id for t in w.running(s)) == {"node-2": 6}


def test_nothing_to_run_on_is_told_and_resolves_itself():
    w = World(1)
    s = w.create(spec(1, placement=Placement(constraints=("node.labels.ssd==yes",))))
    w.settle()
    [task] = w.view.tasks_of_service(s)
    assert task.status.error == (
        "no suitable node (scheduling constraints not satisfied on 1 node)"
    )
    w.add_node("node-2", {"ssd": "yes"})
    w.settle()
    assert [t.node_id for t in w.running(s)] == ["node-2"]


def test_a_task_moves_when_its_node_no_longer_satisfies_its_constraints():
    labels = {"node-1": {"ssd": "yes"}, "node-2": {"ssd": "yes"}}
    w = World(2, labels)
    s = w.create(spec(2, placement=Placement(constraints=("node.labels.ssd==yes",))))
    w.settle()
    node = w.view.require(Node, "node-1")
    w.write(lambda tx: tx.put(replace(node, spec=replace(node.spec, labels={}))))
    w.settle()
    assert [t.node_id for t in w.running(s)] == ["node-2", "node-2"]


@pytest.mark.parametrize(
    ("policy", "end", "expected"),
    [
        (RestartPolicy(condition=RestartCondition.NONE), TaskState.FAILED, 1),
        (RestartPolicy(condition=RestartCondition.ON_FAILURE), TaskState.COMPLETE, 1),
        (RestartPolicy(max_attempts=2, delay_seconds=1), TaskState.FAILED, 3),
        (RestartPolicy(max_attempts=7, delay_seconds=1), TaskState.COMPLETE, 8),
        (
            RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=1, delay_seconds=0),
            TaskState.FAILED,
            2,
        ),
    ],
)
def test_a_policy_ends_after_its_attempts(policy, end, expected):
    w = World(1)
    w.ends = lambda task: end
    s = w.create(spec(1, restart=policy))
    w.settle()
    tasks = w.view.tasks_of_service(s)
    assert [t.status.state for t in tasks] == [end] * expected
    assert all(t.desired_state == TaskState.SHUTDOWN for t in tasks)


def test_attempts_outside_the_window_do_not_count():
    w = World(1)
    w.ends = lambda task: TaskState.FAILED
    policy = RestartPolicy(max_attempts=1, delay_seconds=20, window_seconds=10)
    s = w.create(spec(1, restart=policy))
    w.run(130)
    assert len(w.view.tasks_of_service(s)) >= 5


def test_a_restart_waits_for_its_delay():
    w = World(1)
    s = w.create(spec(1, restart=RestartPolicy(delay_seconds=7)))
    w.settle()
    [first] = w.running(s)
    w.ends = lambda task: TaskState.FAILED if task.id == first.id else None
    w.settle()
    [second] = w.running(s)
    failed = w.view.require(Task, first.id)
    assert second.start_after == failed.status.timestamp + 7
    assert second.status.timestamp >= second.start_after


def test_a_slot_that_gave_up_is_opened_again_by_a_new_spec():
    w = World(1)
    w.ends = lambda task: TaskState.FAILED if not task.spec.force_update else None
    s = w.create(spec(1, restart=RestartPolicy(condition=RestartCondition.NONE)))
    w.settle()
    assert not w.running(s)
    w.change(s, spec(1, force_update=1))
    w.settle()
    assert len(w.running(s)) == 1


def test_the_history_of_a_slot_is_limited():
    w = World(1)
    cluster = replace(w.view.cluster, spec=ClusterSpec(task_history_limit=2))
    w.write(lambda tx: tx.put(cluster))
    w.ends = lambda task: TaskState.FAILED
    s = w.create(spec(1, restart=RestartPolicy(delay_seconds=1)))

    def failed():
        return [t for t in w.view.tasks_of_service(s) if t.status.state == TaskState.FAILED]

    most = 0
    for _ in range(60):
        w.step()
        most = max(most, len(failed()))
    assert most == FAILURES_MAX + 1, "those that count against the node, and the very last"
    w.ends = lambda task: None
    w.run(int(FAILURE_SECONDS))
    assert len(failed()) == 2


def test_a_service_leaves_a_node_on_which_it_keeps_failing_also_with_a_short_history():
    w = World(1)
    cluster = replace(w.view.cluster, spec=ClusterSpec(task_history_limit=0))
    w.write(lambda tx: tx.put(cluster))
    w.ends = lambda task: TaskState.FAILED if task.node_id == "node-1" else None
    s = w.create(spec(1, restart=RestartPolicy(delay_seconds=1)))
    w.run(1)
    w.add_node("node-2", {})
    busy = Placement(constraints=("node.hostname==node-2",))
    w.create(spec(3, name="other", placement=busy))
    w.run(120)
    assert [task.node_id for task in w.running(s)] == ["node-2"]


def test_a_removed_service_leaves_only_addresses_on_a_node_that_is_down_until_it_returns():
    w = World(3)
    s = w.create(spec(6))
    w.settle()
    w.silent.add("node-1")
    w.remove(s)
    w.run(10)
    assert {t.node_id for t in w.view.tasks_of_service(s)} == {"node-1"}
    w.set_node("node-1", NodeState.DOWN)
    w.settle()
    assert w.view.count(Service) == 0
    assert {t.desired_state for t in w.view.list(Task)} == {TaskState.REMOVE}
    w.set_node("node-1", NodeState.READY)
    w.settle()
    assert w.view.count(Task) == 0


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(0, 8)),
        st.tuples(st.just("down"), st.integers(1, 3)),
        st.tuples(st.just("up"), st.integers(1, 3)),
        st.tuples(st.just("drain"), st.integers(1, 3)),
        st.tuples(st.just("active"), st.integers(1, 3)),
        st.tuples(st.just("update"), st.integers(1, 3)),
        st.tuples(st.just("run"), st.integers(1, 12)),
        st.tuples(st.just("fail"), st.integers(0, 7)),
    ),
    max_size=10,
)


# A task that is made and no longer wanted in the same round.
@example([("scale", 1), ("scale", 1), ("scale", 1), ("fail", 1), ("scale", 0)])
@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(_EVENTS)
def test_whatever_happened_n_slots_end_with_exactly_one_task_each(events):
    w = World(3)
    wanted = spec(3, restart=RestartPolicy(delay_seconds=2))
    s = w.create(wanted)
    failing: set[str] = set()
    w.ends = lambda task: TaskState.FAILED if task.id in failing else None
    for event, number in events:
        if event == "scale":
            wanted = replace(wanted, replicas=number)
            w.change(s, wanted)
        elif event in ("down", "up"):
            state = NodeState.DOWN if event == "down" else NodeState.READY
            w.set_node(f"node-{number}", state)
        elif event in ("drain", "active"):
            available = Availability.DRAIN if event == "drain" else Availability.ACTIVE
            w.set_node(f"node-{number}", availability=available)
        elif event == "update":
            wanted = replace(wanted, task=replace(wanted.task, force_update=number))
            w.change(s, wanted)
        elif event == "fail":
            failing |= {t.id for t in w.running(s) if t.slot == number}
        else:
            w.run(number)
        w.step()
    for number in (1, 2, 3):
        w.set_node(f"node-{number}", NodeState.READY, Availability.ACTIVE)
    w.settle(1000)
    # A failed update leaves a paused service, whose slots are full nevertheless.
    assert slots(w, s) == sorted(set(slots(w, s)))
    assert len(slots(w, s)) == wanted.replicas
    alive = [t for t in w.view.tasks_of_service(s) if t.status.state == TaskState.RUNNING]
    assert len(alive) == wanted.replicas
