"""Nodes that are lost, return, drain and leave, and what becomes of their tasks."""

from dataclasses import replace
from itertools import pairwise

import pytest

from manager.orchestrator.tasks import has_ended
from manager.placement.lost import MARGIN_SECONDS, ORPHAN_SECONDS
from pyswarm.model import (
    Availability,
    ContainerSpec,
    Node,
    NodeState,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    UpdateConfig,
    UpdateOrder,
)
from pyswarm.testing.world import World

GRACE = ContainerSpec().stop_grace_period_seconds
START_FIRST = UpdateConfig(order=UpdateOrder.START_FIRST)


def spec(replicas=1, stop_after=0.0, **changes):
    task = TaskSpec(container=ContainerSpec(image="web"), stop_after_seconds=stop_after)
    return ServiceSpec(name="web", task=task, replicas=replicas, **changes)


def settled(wanted, nodes=3):
    """A world with the service, its id, and the task of slot 1."""
    w = World(nodes)
    s = w.create(wanted)
    w.settle()
    return w, s, w.running(s)[0]


def now_of(w, task):
    return w.view.require(Task, task.id)


def others(w, s, *known):
    """The tasks of the service beside those that are known."""
    ids = {task.id for task in known}
    return [t for t in w.view.tasks_of_service(s) if t.id not in ids]


# ---- lost, and back ----


def test_a_lost_task_is_replaced_at_once_without_the_restart_delay():
    w, s, old = settled(spec())
    assert old.spec.restart.delay_seconds == 5
    w.set_node(old.node_id, NodeState.DOWN)
    w.step()
    [new] = others(w, s, old)
    assert new.start_after == 0
    w.run(4)
    assert [t.id for t in w.running(s)] == [new.id]


def test_with_reschedule_after_a_node_that_returns_in_time_keeps_its_tasks():
    w, s, old = settled(spec(reschedule_after_seconds=60))
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(55)
    assert others(w, s, old) == []
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert [t.id for t in w.running(s)] == [old.id]
    assert others(w, s, old) == []


def test_with_reschedule_after_a_node_that_stays_away_loses_its_tasks():
    w, s, old = settled(spec(reschedule_after_seconds=60))
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(70)
    [new] = w.running(s)
    assert new.node_id != old.node_id


def test_a_returning_task_is_adopted_while_its_replacement_has_not_started():
    w, s, old = settled(spec())
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(2)
    [new] = others(w, s, old)
    assert TaskState.ASSIGNED <= new.status.state < TaskState.RUNNING
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert [t.id for t in w.running(s)] == [old.id]
    assert now_of(w, new).status.state == TaskState.SHUTDOWN


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_what_replaces_a_returned_task_that_fails_waits_for_the_replacement_that_still_stops(order):
    """The returned task was kept, and the one in its place told to stop, which takes its time."""
    w, s, old = settled(spec(update=UpdateConfig(order=order)))
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(2)
    [spare] = others(w, s, old)
    w.silent.add(spare.node_id)
    w.set_node(old.node_id, NodeState.READY)
    w.ends = lambda task: TaskState.FAILED if task.id == old.id else None
    w.run(8)
    assert now_of(w, old).status.state == TaskState.FAILED
    assert not now_of(w, spare).is_wanted
    assert not has_ended(now_of(w, spare))
    [new] = others(w, s, old, spare)
    if order == UpdateOrder.START_FIRST:
        assert new.desired_state == TaskState.RUNNING, "this service has two at a time"
        return
    assert new.desired_state == new.status.state == TaskState.READY, "prepared, and not started"
    w.silent.clear()
    w.settle()
    assert [t.id for t in w.running(s)] == [new.id]


def test_a_global_task_waits_for_the_one_before_it_on_its_node():
    w, s, old = settled(spec(mode=ServiceMode.GLOBAL), nodes=1)
    w.silent.add(old.node_id)
    w.set_node(old.node_id, availability=Availability.DRAIN)
    w.run(1)
    w.set_node(old.node_id, availability=Availability.ACTIVE)
    w.run(3)
    [new] = others(w, s, old)
    assert new.desired_state == TaskState.READY
    w.silent.clear()
    w.settle()
    assert [t.id for t in w.running(s)] == [new.id]


def test_a_task_that_returns_beside_one_that_runs_ends_at_once():
    w, s, old = settled(spec())
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(5)
    [new] = w.running(s)
    w.set_node(old.node_id, NodeState.READY)
    w.run(2)
    assert now_of(w, old).status.state == TaskState.SHUTDOWN
    assert [t.id for t in w.running(s)] == [new.id]


def test_two_that_run_when_the_node_returns_become_the_newer_one():
    w, s, old = settled(spec())
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(2)
    [new] = others(w, s, old)
    status = replace(new.status, state=TaskState.RUNNING)
    node = w.view.require(Node, old.node_id)

    def both(tx):
        tx.put(replace(new, status=status))
        tx.put(replace(node, status=replace(node.status, state=NodeState.READY)))

    w.write(both)
    w.silent.clear()
    w.settle()
    assert [t.id for t in w.running(s)] == [new.id]


def test_a_lost_task_that_an_update_has_outdated_is_not_adopted():
    wanted = spec()
    w, s, old = settled(wanted)
    w.set_node(old.node_id, NodeState.DOWN)
    w.change(s, replace(wanted, task=replace(wanted.task, force_update=1)))
    w.run(1)
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    [new] = w.running(s)
    assert new.id != old.id
    assert new.spec.force_update == 1


def test_when_nothing_can_replace_it_a_lost_task_is_still_wanted():
    w, s, old = settled(spec(), nodes=1)
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(30)
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert [t.id for t in w.running(s)] == [old.id]


def test_a_lost_slot_is_the_first_to_go_when_fewer_are_wanted():
    wanted = spec(2, reschedule_after_seconds=600)
    w, s, first = settled(wanted)
    w.set_node(first.node_id, NodeState.DOWN)
    w.run(3)
    w.change(s, replace(wanted, replicas=1))
    w.run(5)
    [left] = w.running(s)
    assert left.slot == 2


def test_a_job_that_is_lost_runs_again_and_its_lost_task_ends():
    wanted = spec(mode=ServiceMode.REPLICATED_JOB)
    restart = RestartPolicy(condition=RestartCondition.ON_FAILURE)
    w, s, old = settled(replace(wanted, task=replace(wanted.task, restart=restart)))
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(5)
    [new] = w.running(s)
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert now_of(w, old).status.state == TaskState.SHUTDOWN
    assert [t.id for t in w.running(s)] == [new.id]


# ---- leases ----


def lease_ends(w, task, stop_after):
    since = w.view.require(Node, task.node_id).status.silent_since
    return since + stop_after + GRACE + MARGIN_SECONDS


def test_a_leased_task_is_replaced_only_when_its_node_must_have_stopped_it():
    w, s, old = settled(spec(stop_after=30))
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(5)
    [new] = others(w, s, old)
    assert new.desired_state == new.status.state == TaskState.READY, "prepared, and not started"
    end = lease_ends(w, old, 30)
    while not w.running(s):
        w.step()
    assert end <= now_of(w, new).status.timestamp <= end + 3
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert [t.id for t in w.running(s)] == [new.id]


def test_a_leased_task_that_returns_in_time_is_adopted():
    w, s, old = settled(spec(stop_after=30))
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(20)
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert [t.id for t in w.running(s)] == [old.id]


@pytest.mark.parametrize("how", ["update", "scale", "misfit"])
def test_no_way_around_a_lease(how):
    wanted = spec(stop_after=30)
    w, s, old = settled(wanted)
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(1)
    if how == "update":
        w.change(s, replace(wanted, task=replace(wanted.task, force_update=1)))
    elif how == "scale":
        w.change(s, replace(wanted, replicas=0))
        w.run(2)
        w.change(s, wanted)
    else:
        placement = replace(wanted.task.placement, constraints=(f"node.id!={old.node_id}",))
        w.change(s, replace(wanted, task=replace(wanted.task, placement=placement)))
    end = lease_ends(w, old, 30)
    while not w.running(s):
        w.step()
        assert w.now < end + 10
    assert w.running(s)[0].status.timestamp >= end


def test_a_node_that_was_removed_or_has_left_holds_no_lease():
    for how in ("removed", "left"):
        w, s, old = settled(spec(stop_after=600))
        w.set_node(old.node_id, NodeState.DOWN)
        w.run(3)
        node = w.view.require(Node, old.node_id)
        if how == "removed":
            w.write(lambda tx, n=node: tx.delete(Node, n.id))
        else:
            status = replace(node.status, left=True)
            w.write(lambda tx, n=node, st=status: tx.put(replace(n, status=st)))
        w.run(4)
        assert len(w.running(s)) == 1, how
        assert now_of(w, old).status.state == TaskState.ORPHANED


# ---- addresses ----


def addresses(w):
    return {
        a.address
        for t in w.view.list(Task)
        for a in t.networks
        if t.status.state <= TaskState.RUNNING
    }


def test_the_address_of_a_removed_task_stays_taken_until_its_node_confirms():
    from pyswarm.model import EndpointSpec, PortConfig

    ports = EndpointSpec(ports=(PortConfig(target_port=80, published_port=8080),))
    wanted = spec(2, endpoint=ports)
    w, s, old = settled(wanted, nodes=2)
    [address] = [a.address for a in old.networks]
    w.set_node(old.node_id, NodeState.DOWN)
    w.change(s, replace(wanted, replicas=0))
    w.settle()
    assert address in addresses(w)
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert w.view.count(Task) == 0


def test_a_node_that_is_down_for_a_day_has_no_tasks_any_more():
    w, s, old = settled(spec())
    w.set_node(old.node_id, NodeState.DOWN)
    w.run(10)
    w.now += ORPHAN_SECONDS
    w.settle()
    assert now_of(w, old).status.state == TaskState.ORPHANED
    w.set_node(old.node_id, NodeState.READY)
    w.settle()
    assert len(w.running(s)) == 1


# ---- drain ----


def test_drain_starts_first_where_the_service_does():
    w, s, old = settled(spec(update=START_FIRST))
    w.set_node(old.node_id, availability=Availability.DRAIN)
    least = 1
    for _ in range(10):
        w.step()
        least = min(least, len(w.running(s)))
    assert least == 1, "there was a moment without a running task"
    [new] = w.running(s)
    assert new.node_id != old.node_id
    assert now_of(w, old).status.state == TaskState.SHUTDOWN


def test_drain_start_first_stops_nothing_while_there_is_no_other_place():
    w, s, old = settled(spec(update=START_FIRST), nodes=1)
    w.set_node(old.node_id, availability=Availability.DRAIN)
    w.run(30)
    assert [t.id for t in w.running(s)] == [old.id]
    [waiting] = others(w, s, old)
    assert "no suitable node" in waiting.status.error
    w.set_node(old.node_id, availability=Availability.ACTIVE)
    w.settle()
    assert [t.id for t in w.running(s)] == [old.id]
    assert all(not t.is_wanted for t in others(w, s, old))


def test_drain_stops_first_where_the_service_does():
    w, s, old = settled(spec())
    w.silent.add(old.node_id)
    w.set_node(old.node_id, availability=Availability.DRAIN)
    w.run(5)
    [new] = others(w, s, old)
    assert now_of(w, old).desired_state == TaskState.SHUTDOWN
    assert new.status.state == TaskState.READY, "it waits for the old one"
    w.silent.clear()
    w.run(3)
    assert [t.id for t in w.running(s)] == [new.id]


def test_drain_does_not_wait_for_a_service_that_is_never_restarted():
    restart = RestartPolicy(condition=RestartCondition.NONE)
    wanted = spec(update=START_FIRST)
    w, _, old = settled(replace(wanted, task=replace(wanted.task, restart=restart)))
    w.set_node(old.node_id, availability=Availability.DRAIN)
    w.settle()
    assert now_of(w, old).status.state == TaskState.SHUTDOWN


def replacements_that(end, wanted, leave):
    """Whatever replaces the task of slot 1 ends before anybody sees it run, after `leave` made that
    task go. The task, and those made in two minutes."""
    w, s, old = settled(wanted)
    leave(w, old)
    made = {}
    for _ in range(120):
        w.step()
        for task in others(w, s, old):
            made.setdefault(task.id, task)
            if task.is_wanted and not has_ended(task) and task.start_after <= w.now:
                ended = replace(task.status, state=end, timestamp=w.now)
                w.write(lambda tx, t=task, to=ended: tx.put(replace(t, status=to)))
    return now_of(w, old), list(made.values())


def drained(w, old):
    w.set_node(old.node_id, availability=Availability.DRAIN)


def lost(w, old):
    w.set_node(old.node_id, NodeState.DOWN)


LEAVING = pytest.mark.parametrize("leave", [drained, lost])


def on_failure(**changes):
    restart = RestartPolicy(condition=RestartCondition.ON_FAILURE, **changes)
    wanted = spec(update=START_FIRST)
    return replace(wanted, task=replace(wanted.task, restart=restart))


@LEAVING
def test_a_task_that_must_leave_goes_once_its_replacement_has_done_the_work(leave):
    old, new = replacements_that(TaskState.COMPLETE, on_failure(), leave)
    assert not old.is_wanted
    assert len(new) == 1


@LEAVING
def test_what_fails_in_place_of_a_task_that_must_leave_is_given_up_by_the_policy(leave):
    """The task that runs is worth more than a node that is empty."""
    old, new = replacements_that(TaskState.FAILED, on_failure(max_attempts=2), leave)
    assert old.is_wanted
    assert len(new) == 3, "a first one, and two restarts"


@LEAVING
def test_what_fails_in_place_of_a_task_that_must_leave_is_tried_less_and_less(leave):
    old, new = replacements_that(TaskState.FAILED, on_failure(), leave)
    assert old.is_wanted
    gaps = [b.start_after - a.start_after for a, b in pairwise(new) if a.start_after]
    assert gaps[-1] > gaps[0] > 0
