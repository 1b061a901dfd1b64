from dataclasses import replace

import pytest

from pyswarm.model import (
    Availability,
    ClusterSpec,
    ContainerSpec,
    EndpointSpec,
    FailureAction,
    Mount,
    NodeState,
    Placement,
    PortConfig,
    PublishMode,
    RestartCondition,
    RestartPolicy,
    ServiceSpec,
    TaskSpec,
    TaskState,
    UpdateConfig,
    UpdateOrder,
    UpdateState,
)
from pyswarm.testing.world import World


def spec(version=0, replicas=4, update=None, rollback=None, **task):
    return ServiceSpec(
        name="web",
        replicas=replicas,
        task=TaskSpec(force_update=version, restart=RestartPolicy(delay_seconds=1), **task),
        update=update or UpdateConfig(monitor_seconds=2),
        rollback=rollback or UpdateConfig(monitor_seconds=2),
    )


def settled(first):
    w = World(3)
    s = w.create(first)
    w.settle()
    return w, s


def versions(w, s):
    return [t.spec.force_update for t in w.running(s)]


def living(w, s):
    return [t for t in w.view.tasks_of_service(s) if t.status.state <= TaskState.RUNNING]


def test_one_slot_after_the_other_stops_and_starts():
    w, s = settled(spec())
    w.change(s, spec(1))
    fewest = 4
    while w.service(s).update_status.state == UpdateState.UPDATING:
        w.step()
        fewest = min(fewest, len(w.running(s)))
    assert fewest == 3
    assert versions(w, s) == [1, 1, 1, 1]
    status = w.service(s).update_status
    assert (status.state, status.message) == (UpdateState.COMPLETED, "update completed")
    assert status.completed_at > status.started_at


def test_stop_first_runs_the_new_one_only_when_the_old_one_has_stopped():
    w, s = settled(spec(replicas=1))
    [old] = w.running(s)
    w.silent.add(old.node_id)
    w.change(s, spec(1, replicas=1))
    w.run(20)
    [_, new] = living(w, s)
    assert new.desired_state == TaskState.READY
    w.silent.clear()
    w.settle()
    assert versions(w, s) == [1]


def test_a_task_that_waits_for_the_old_one_and_is_lost_is_replaced_by_one_that_waits():
    w, s = settled(spec(replicas=1))
    [old] = w.running(s)
    w.silent.add(old.node_id)
    w.set_node(old.node_id, availability=Availability.PAUSE)  # the new one goes elsewhere
    w.change(s, spec(1, replicas=1))
    w.run(5)
    [lost] = [t for t in living(w, s) if t.id != old.id]
    w.set_node(lost.node_id, NodeState.DOWN)
    w.run(5)
    [new] = [t for t in living(w, s) if t.id not in (old.id, lost.id)]
    assert new.desired_state == TaskState.READY
    w.silent.discard(old.node_id)
    w.run(5)
    assert [t.id for t in w.running(s)] == [new.id]


def test_an_old_task_that_will_not_stop_holds_up_its_slot_for_a_minute_only():
    w, s = settled(spec(replicas=1))
    [old] = w.running(s)
    w.silent.add(old.node_id)
    w.change(s, spec(1, replicas=1))
    w.run(60)
    assert [t.desired_state for t in living(w, s)] == [TaskState.SHUTDOWN, TaskState.READY]
    w.run(25)
    assert [t.desired_state for t in living(w, s)] == [TaskState.SHUTDOWN, TaskState.RUNNING]


def test_a_task_that_will_not_stop_writing_to_its_volume_is_waited_for_without_end():
    data = ContainerSpec(mounts=(Mount(source="data", target="/data"),))
    w, s = settled(spec(replicas=1, container=data))
    [old] = w.running(s)
    w.silent.add(old.node_id)
    w.change(s, spec(1, replicas=1, container=data))
    w.run(300)
    assert [t.desired_state for t in living(w, s)] == [TaskState.SHUTDOWN, TaskState.READY]
    w.silent.clear()
    w.settle()
    assert versions(w, s) == [1]


def test_start_first_never_has_fewer_tasks_than_wanted():
    order = UpdateConfig(order=UpdateOrder.START_FIRST, monitor_seconds=2)
    w, s = settled(spec(update=order))
    w.change(s, spec(1, update=order))
    while w.service(s).update_status.state == UpdateState.UPDATING:
        w.step()
        up = [t for t in living(w, s) if t.status.state == TaskState.RUNNING]
        assert 4 <= len(up) <= 6
    w.settle()
    assert versions(w, s) == [1, 1, 1, 1]


@pytest.mark.parametrize("condition", [RestartCondition.NONE, RestartCondition.ANY])
def test_start_first_does_not_run_again_and_again_what_ends_before_it_is_seen_to_run(condition):
    config = UpdateConfig(order=UpdateOrder.START_FIRST, monitor_seconds=2)
    first, second = (
        replace(s, task=replace(s.task, restart=RestartPolicy(condition=condition)))
        for s in (spec(replicas=1, update=config), spec(1, replicas=1, update=config))
    )
    w, s = settled(first)
    w.change(s, second)
    made = set()
    for _ in range(12):
        w.step()
        new = [t for t in w.view.tasks_of_service(s) if t.spec.force_update]
        made |= {t.id for t in new}
        for each in new:
            if each.status.state < TaskState.RUNNING and each.start_after <= w.now:
                done = replace(each.status, state=TaskState.COMPLETE, timestamp=w.now)
                w.write(lambda tx, t=each, to=done: tx.put(replace(t, status=to)))
    assert len(made) <= (1 if condition is RestartCondition.NONE else 4)
    assert all(t.spec.force_update for t in living(w, s)), "the old one has stopped"


def test_parallelism_bounds_how_many_are_down_and_zero_is_all():
    for parallelism, expected in ((2, 2), (0, 4)):
        config = UpdateConfig(parallelism=parallelism, monitor_seconds=1)
        w, s = settled(spec(update=config))
        w.change(s, spec(1, update=config))
        down = 0
        while w.service(s).update_status.state == UpdateState.UPDATING:
            w.step()
            down = max(down, 4 - len(w.running(s)))
        assert down == expected


def test_the_delay_lies_between_two_slots():
    config = UpdateConfig(delay_seconds=10, monitor_seconds=1)
    w, s = settled(spec(replicas=2, update=config))
    w.change(s, spec(1, replicas=2, update=config))
    w.settle()
    first, second = sorted(t.meta.created_at for t in w.running(s))
    assert second - first >= 10


def test_a_failing_update_pauses_and_says_which_task():
    w, s = settled(spec())
    w.ends = lambda task: TaskState.FAILED if task.spec.force_update else None
    w.change(s, spec(1))
    w.run(60)
    status = w.service(s).update_status
    assert status.state == UpdateState.PAUSED
    assert status.message.startswith("update paused due to failure or early termination of task")
    # As in Docker the next slot begins when the task runs; `monitor` only judges.
    assert versions(w, s).count(0) >= 2


def test_a_failing_update_goes_on_where_it_is_told_to():
    config = UpdateConfig(failure_action=FailureAction.CONTINUE, monitor_seconds=2)
    w, s = settled(spec(update=config))
    broken = []
    w.ends = lambda task: TaskState.FAILED if task.id in broken else None
    w.change(s, spec(1, update=config))
    while not broken:
        w.step()
        broken += [t.id for t in w.running(s) if t.spec.force_update]
    w.settle()
    assert versions(w, s) == [1, 1, 1, 1]
    assert w.service(s).update_status.state == UpdateState.COMPLETED


def test_some_failures_are_tolerated():
    config = UpdateConfig(max_failure_ratio=0.5, monitor_seconds=2)
    w, s = settled(spec(update=config))
    broken = []
    w.ends = lambda task: TaskState.FAILED if task.id in broken else None
    w.change(s, spec(1, update=config))
    while not broken:
        w.step()
        broken += [t.id for t in w.running(s) if t.spec.force_update][:1]
    w.settle()
    assert versions(w, s) == [1, 1, 1, 1]


def test_failures_count_to_the_end_of_the_update_where_no_history_is_kept():
    config = UpdateConfig(parallelism=1, max_failure_ratio=0.3)
    w, s = settled(spec(update=config))
    cluster = w.view.cluster
    w.write(lambda tx: tx.put(replace(cluster, spec=ClusterSpec(task_history_limit=0))))
    failed = set()

    def once(task):
        """The first new task of each slot."""
        if task.spec.force_update == 0 or task.slot in failed:
            return None
        failed.add(task.slot)
        return TaskState.FAILED

    w.ends = once
    w.change(s, spec(1, update=config))
    w.settle()
    assert w.service(s).update_status.state == UpdateState.PAUSED
    assert 0 in versions(w, s)


def test_a_failing_update_rolls_back_and_keeps_the_number_of_replicas():
    config = UpdateConfig(failure_action=FailureAction.ROLLBACK, monitor_seconds=2)
    w, s = settled(spec(update=config))
    w.ends = lambda task: TaskState.FAILED if task.spec.force_update else None
    w.change(s, spec(1, replicas=5, update=config))
    w.settle()
    assert versions(w, s) == [0] * 5
    service = w.service(s)
    assert service.update_status.message == "rollback completed"
    assert (service.previous_spec, service.spec_version) == (None, 3)


def test_a_failing_rollback_pauses_and_is_not_rolled_back():
    config = UpdateConfig(failure_action=FailureAction.ROLLBACK, monitor_seconds=2)
    w, s = settled(spec(update=config, rollback=config))
    w.change(s, spec(1, update=config, rollback=config))
    w.run(3)
    w.ends = lambda task: TaskState.FAILED
    w.run(60)
    status = w.service(s).update_status
    assert status.state == UpdateState.ROLLBACK_PAUSED
    assert status.message.startswith("rollback paused")


def test_an_update_that_cannot_be_placed_says_what_it_waits_for():
    w, s = settled(spec(replicas=2))
    changed = spec(1, replicas=2)
    placement = replace(changed.task.placement, constraints=("node.labels.none==x",))
    w.change(s, replace(changed, task=replace(changed.task, placement=placement)))
    w.run(60)
    status = w.service(s).update_status
    assert status.state == UpdateState.UPDATING
    assert "waiting for task" in status.message
    assert "scheduling constraints not satisfied on 3 nodes" in status.message
    w.change(s, spec(2, replicas=2))
    w.settle()
    assert versions(w, s) == [2, 2]


def test_a_changed_host_port_replaces_the_tasks_too():
    w, s = settled(spec(replicas=2))
    port = PortConfig(target_port=80, published_port=80, publish_mode=PublishMode.HOST)
    w.change(s, replace(spec(replicas=2), endpoint=EndpointSpec(ports=(port,))))
    w.settle()
    assert [t.ports for t in w.running(s)] == [(port,), (port,)]
    assert w.service(s).update_status.state == UpdateState.COMPLETED


def test_a_change_that_is_taken_back_leaves_tasks_that_are_right_already():
    w, s = settled(spec())
    before = [t.id for t in w.running(s)]
    w.change(s, spec(1))
    w.change(s, spec(0))
    w.settle()
    assert [t.id for t in w.running(s)] == before
    assert w.service(s).update_status.state == UpdateState.COMPLETED


def test_a_change_of_the_placement_alone_moves_only_what_no_longer_fits():
    w = World(3, labels={"node-1": {"disk": "ssd"}, "node-2": {"disk": "ssd"}})
    s = w.create(spec(replicas=3))
    w.settle()
    before = {t.node_id: t.id for t in w.running(s)}
    placement = Placement(constraints=("node.labels.disk==ssd",))
    w.change(s, spec(replicas=3, placement=placement))
    w.settle()
    after = w.running(s)
    assert {before["node-1"], before["node-2"]} < {t.id for t in after}
    assert before["node-3"] not in {t.id for t in after}
    assert all(t.spec.placement == placement for t in after)
    assert {t.spec_version for t in after} == {2}
    assert w.service(s).update_status.state == UpdateState.COMPLETED


def test_a_changed_limit_for_a_node_places_the_tasks_again():
    w, s = settled(spec(replicas=3))
    before = {t.id for t in w.running(s)}
    w.change(s, spec(replicas=3, placement=Placement(max_replicas=1)))
    w.settle()
    assert not before & {t.id for t in w.running(s)}


def test_a_change_of_the_placement_of_many_tasks_keeps_all_of_them():
    w, s = settled(spec(replicas=150))
    before = {t.id for t in w.running(s)}
    w.change(s, spec(replicas=150, placement=Placement(spread=("node.labels.rack",))))
    w.settle()
    assert {t.id for t in w.running(s)} == before
