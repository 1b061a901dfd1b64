"""Every update ends: by itself, by its failures, by its progress deadline, or by its operator."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.control.updates.edits import ABORT, CONTINUE, PAUSE
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import (
    FailureAction,
    NodeState,
    Placement,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    TaskState,
    UpdateConfig,
    UpdateOrder,
    UpdateState,
)
from pyswarm.testing.world import World

DEADLINE = 40.0
CONFIG = UpdateConfig(monitor_seconds=2, progress_deadline_seconds=DEADLINE)
NOWHERE = Placement(constraints=("node.labels.none==x",))


def spec(version=0, replicas=3, update=CONFIG, rollback=CONFIG, **changes):
    task = TaskSpec(force_update=version, restart=RestartPolicy(delay_seconds=1))
    nowhere = changes.pop("nowhere", False)
    task = replace(task, placement=NOWHERE) if nowhere else task
    fields = {"name": "web", "replicas": replicas, "task": task} | changes
    return ServiceSpec(update=update, rollback=rollback, **fields)


def settled(first=None):
    w = World(3)
    s = w.create(first or spec())
    w.settle()
    return w, s


def versions(w, s):
    return [t.spec.force_update for t in w.running(s)]


def status(w, s):
    return w.service(s).update_status


def until(w, s, *states, seconds=400):
    """Step until the update is in one of these states; how many seconds that took."""
    for second in range(seconds):
        if status(w, s).state in states:
            return second
        w.step()
    raise AssertionError(f"{status(w, s)} after {seconds} s")


def test_a_task_that_fits_no_node_ends_the_update_at_the_deadline():
    w, s = settled()
    w.change(s, spec(1, nowhere=True))
    took = until(w, s, UpdateState.PAUSED)
    assert DEADLINE <= took <= DEADLINE + 2
    assert status(w, s).timed_out
    message = status(w, s).message
    assert message.startswith("update paused since nothing has come forward for 40s: task task-")
    assert "scheduling constraints not satisfied on 3 nodes" in message
    assert versions(w, s) == [0, 0]


def test_with_the_action_rollback_the_deadline_brings_the_old_spec_back():
    config = replace(CONFIG, failure_action=FailureAction.ROLLBACK)
    w, s = settled(spec(update=config))
    w.change(s, spec(1, nowhere=True, update=config))
    until(w, s, UpdateState.ROLLBACK_STARTED)
    assert status(w, s).message.startswith("update rolled back since nothing has come forward")
    until(w, s, UpdateState.ROLLBACK_COMPLETED)
    assert versions(w, s) == [0, 0, 0]
    assert not status(w, s).timed_out


def test_a_rollback_has_the_deadline_of_its_own_settings():
    w, s = settled(spec(rollback=replace(CONFIG, progress_deadline_seconds=15)))
    changed = spec(1, rollback=replace(CONFIG, progress_deadline_seconds=15))
    w.change(s, changed)
    until(w, s, UpdateState.COMPLETED)
    for name in ("node-1", "node-2", "node-3"):
        w.silent.add(name)
    w.roll_back(s)
    took = until(w, s, UpdateState.ROLLBACK_PAUSED)
    # An old task that does not stop holds the new one up for its grace and a minute, no longer.
    assert 70 + 15 <= took <= 70 + 15 + 3
    assert status(w, s).timed_out


def test_even_continue_pauses_at_the_deadline_since_there_is_nothing_to_go_on_with():
    w, s = settled()
    config = replace(CONFIG, failure_action=FailureAction.CONTINUE)
    w.change(s, spec(1, nowhere=True, update=config))
    until(w, s, UpdateState.PAUSED)
    assert status(w, s).timed_out


def test_start_first_with_tasks_that_always_fail_does_not_try_for_ever():
    config = replace(
        CONFIG, failure_action=FailureAction.CONTINUE, order=UpdateOrder.START_FIRST, parallelism=0
    )
    w, s = settled()
    w.ends = lambda task: TaskState.FAILED if task.spec.force_update else None
    w.change(s, spec(1, update=config))
    took = until(w, s, UpdateState.PAUSED, UpdateState.COMPLETED)
    assert took <= 3 * DEADLINE


def test_a_slow_update_is_not_a_stuck_one():
    slow = replace(CONFIG, delay_seconds=2 * DEADLINE)
    w, s = settled()
    w.change(s, spec(1, update=slow))
    took = until(w, s, UpdateState.COMPLETED, UpdateState.PAUSED)
    assert status(w, s).state == UpdateState.COMPLETED
    assert took > 2 * 2 * DEADLINE


def test_each_slot_that_comes_forward_begins_the_time_anew():
    w, s = settled()
    w.change(s, spec(1))
    begun, held = w.now, {}
    while status(w, s).state == UpdateState.UPDATING:
        w.step()
        for task in w.view.tasks_of_service(s):
            if task.spec.force_update and task.status.state == TaskState.PREPARING:
                # An image that takes most of the deadline to come.
                held.setdefault(task.node_id, w.now + 35)
        w.silent = {node for node, free_at in held.items() if free_at > w.now}
    assert status(w, s).state == UpdateState.COMPLETED
    assert w.now - begun > 2 * DEADLINE


def test_a_paused_update_that_is_continued_has_its_time_again():
    w, s = settled()
    w.change(s, spec(1, nowhere=True))
    until(w, s, UpdateState.PAUSED)
    w.steer(s, CONTINUE)
    took = until(w, s, UpdateState.PAUSED)
    assert took >= DEADLINE
    w.set_node("node-1", NodeState.READY)


def test_a_pause_holds_the_next_slots_and_what_is_begun_goes_on():
    w, s = settled()
    w.change(s, spec(1))
    w.run(2)
    w.steer(s, PAUSE)
    w.settle()
    assert sorted(versions(w, s)) == [0, 0, 1]
    w.steer(s, CONTINUE)
    until(w, s, UpdateState.COMPLETED)
    assert versions(w, s) == [1, 1, 1]


def test_an_aborted_update_ends_where_it_began():
    w, s = settled()
    w.change(s, spec(1, nowhere=True))
    w.run(5)
    w.steer(s, ABORT)
    until(w, s, UpdateState.ROLLBACK_COMPLETED)
    assert versions(w, s) == [0, 0, 0]


def test_an_update_takes_the_place_of_one_that_is_stuck_and_of_one_that_is_paused():
    for wait in (5, 60):
        w, s = settled()
        w.change(s, spec(1, nowhere=True))
        w.run(wait)
        w.change(s, spec(2))
        until(w, s, UpdateState.COMPLETED)
        assert versions(w, s) == [2, 2, 2]


def test_an_update_takes_the_place_of_a_rollback():
    w, s = settled()
    w.change(s, spec(1))
    until(w, s, UpdateState.COMPLETED)
    w.roll_back(s)
    w.run(3)
    assert status(w, s).state == UpdateState.ROLLBACK_STARTED
    w.change(s, spec(2))
    until(w, s, UpdateState.COMPLETED)
    assert versions(w, s) == [2, 2, 2]


def test_scaling_during_an_update_gives_tasks_of_the_new_spec():
    w, s = settled()
    w.change(s, spec(1))
    w.run(3)
    w.change(s, spec(1, replicas=5))
    until(w, s, UpdateState.COMPLETED)
    assert versions(w, s) == [1] * 5
    w.change(s, spec(2, replicas=5))
    w.run(3)
    w.change(s, spec(2, replicas=2))
    until(w, s, UpdateState.COMPLETED)
    w.settle()
    assert versions(w, s) == [2, 2]


def test_an_update_waits_also_for_a_task_that_was_right_but_does_not_run_yet():
    w, s = settled(spec(nowhere=True))
    w.change(s, spec(1))
    w.run(1)
    w.change(s, spec(nowhere=True))
    until(w, s, UpdateState.PAUSED)
    assert status(w, s).timed_out


ENDS = frozenset(
    {
        UpdateState.NONE,
        UpdateState.PAUSED,
        UpdateState.COMPLETED,
        UpdateState.ROLLBACK_PAUSED,
        UpdateState.ROLLBACK_COMPLETED,
    }
)
CONFIGS = st.builds(
    UpdateConfig,
    parallelism=st.integers(0, 2),
    delay_seconds=st.sampled_from([0.0, 3.0]),
    monitor_seconds=st.sampled_from([0.0, 4.0]),
    failure_action=st.sampled_from(FailureAction),
    max_failure_ratio=st.sampled_from([0.0, 0.5]),
    order=st.just(UpdateOrder.START_FIRST),
    progress_deadline_seconds=st.just(20.0),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("change", "nowhere", "scale", "back", "pause", "continue", "abort", "down", "up")
        ),
        st.integers(0, 25),
    ),
    max_size=8,
)


def disturb(w, s, word, number):
    old = w.service(s).spec
    if word in ("change", "nowhere"):
        w.change(s, spec(number, old.replicas, old.update, nowhere=word == "nowhere"))
    elif word == "scale":
        w.change(s, replace(old, replicas=number % 5))
    elif word in ("down", "up"):
        w.set_node("node-1", NodeState.DOWN if word == "down" else NodeState.READY)
    else:
        try:
            if word == "back":
                w.roll_back(s)
            else:
                w.steer(s, {"pause": PAUSE, "continue": CONTINUE, "abort": ABORT}[word])
        except (FailedPrecondition, InvalidArgument):
            pass


@settings(max_examples=40, deadline=None)
@given(CONFIGS, st.sampled_from(UpdateOrder), EVENTS, st.sets(st.integers(0, 25)))
def test_whatever_happens_an_update_ends_in_one_of_its_states(config, order, events, bad):
    """Specs in `bad` fail, some fit nowhere, nodes come and go, operators do what they like."""
    config = replace(config, order=order)
    w = World(2)
    s = w.create(spec(100, update=config, rollback=config))
    w.ends = lambda task: TaskState.FAILED if task.spec.force_update in bad else None
    w.run(5)
    for word, number in events:
        disturb(w, s, word, number)
        w.run(number)
    # A rollback after an update, each slot with its deadline, its delay, its stop and its watch.
    until(w, s, *ENDS, seconds=2 * 5 * (20 + 3 + 4 + 75))


@pytest.mark.parametrize("order", UpdateOrder)
def test_a_global_service_ends_at_the_deadline_too(order):
    config = replace(CONFIG, order=order)
    w, s = settled(spec(mode=ServiceMode.GLOBAL, update=config))
    w.change(s, spec(1, mode=ServiceMode.GLOBAL, update=config))
    w.silent.update(("node-1", "node-2", "node-3"))
    until(w, s, UpdateState.PAUSED)
    assert status(w, s).timed_out
