from agent.reporter import (
    BATCH_ITEMS_MAX,
    BATCH_SECONDS,
    STEP_SECONDS,
    Delivered,
    NetworksApplied,
    ReporterMachine,
    Send,
    SessionClosed,
    SessionOpened,
    StatusChanged,
    TaskForgotten,
    Tick,
)
from pyswarm.core import NEVER
from pyswarm.model import TaskState, TaskStatus

RUNNING = TaskStatus(state=TaskState.RUNNING)
STARTING = TaskStatus(state=TaskState.STARTING)
READY = TaskStatus(state=TaskState.READY)
FAILED = TaskStatus(state=TaskState.FAILED)


def opened():
    machine = ReporterMachine()
    assert machine.handle(SessionOpened(), 0.0) == []
    return machine


def test_small_changes_travel_together():
    machine = opened()
    assert machine.handle(StatusChanged("b", READY), 1.0) == []
    assert machine.handle(StatusChanged("a", READY), 1.01) == []
    assert machine.handle(StatusChanged("a", RUNNING), 1.02) == []
    assert machine.deadline() == 1.0 + BATCH_SECONDS
    sent = machine.handle(Tick(), machine.deadline())
    assert sent == [Send((("a", RUNNING), ("b", READY)))]
    machine.check()


def test_a_step_that_is_passed_quickly_is_never_told():
    machine = opened()
    assert machine.handle(StatusChanged("a", STARTING), 1.0) == []
    assert machine.deadline() == 1.0 + STEP_SECONDS
    assert machine.handle(StatusChanged("a", RUNNING), 1.1) == []
    assert machine.handle(Tick(), 1.1 + BATCH_SECONDS) == [Send((("a", RUNNING),))]
    machine.handle(Delivered(), 1.2)
    assert machine.handle(Tick(), 1.0 + STEP_SECONDS) == []
    assert machine.deadline() == NEVER
    machine.check()


def test_a_step_that_takes_long_is_told_and_waits_for_nothing_else():
    machine = opened()
    assert machine.handle(StatusChanged("a", STARTING), 1.0) == []
    assert machine.handle(StatusChanged("b", FAILED), 1.1) == [Send((("b", FAILED),))]
    machine.check()
    machine.handle(Delivered(), 1.2)
    assert machine.handle(Tick(), 1.0 + STEP_SECONDS) == [Send((("a", STARTING),))]


def test_an_end_is_told_at_once():
    machine = opened()
    assert machine.handle(StatusChanged("a", FAILED), 1.0) == [Send((("a", FAILED),))]


def test_only_one_report_is_in_flight():
    machine = opened()
    machine.handle(StatusChanged("a", FAILED), 1.0)
    assert machine.handle(StatusChanged("b", FAILED), 1.0) == []
    assert machine.deadline() == NEVER
    assert machine.handle(Delivered(), 1.1) == [Send((("b", FAILED),))]


def test_a_status_never_goes_back():
    machine = opened()
    machine.handle(StatusChanged("a", FAILED), 1.0)
    machine.handle(Delivered(), 1.0)
    assert machine.handle(StatusChanged("a", RUNNING), 2.0) == []
    assert machine.deadline() == NEVER


def test_a_new_session_is_told_everything():
    machine = opened()
    machine.handle(StatusChanged("a", FAILED), 1.0)
    machine.handle(Delivered(), 1.1)
    machine.handle(NetworksApplied({"n": 3}), 1.1)
    machine.handle(SessionClosed(), 2.0)
    assert machine.handle(StatusChanged("b", FAILED), 2.1) == []
    assert machine.deadline() == NEVER
    sent = machine.handle(SessionOpened(), 3.0)
    assert sent == [Send((("a", FAILED), ("b", FAILED)), (("n", 3),))]


def test_what_was_in_flight_when_the_session_broke_is_told_again():
    machine = opened()
    machine.handle(StatusChanged("a", FAILED), 1.0)
    machine.handle(SessionClosed(), 1.1)
    assert machine.handle(SessionOpened(), 2.0) == [Send((("a", FAILED),))]


def test_a_forgotten_task_is_not_told():
    machine = opened()
    machine.handle(StatusChanged("a", RUNNING), 1.0)
    machine.handle(TaskForgotten("a"), 1.0)
    assert machine.handle(Tick(), 2.0) == []
    machine.check()


def test_a_report_is_bounded_and_the_rest_follows():
    machine = opened()
    machine.handle(SessionClosed(), 0.0)
    for number in range(BATCH_ITEMS_MAX + 5):
        machine.handle(StatusChanged(f"{number:05}", RUNNING), 0.0)
    [first] = machine.handle(SessionOpened(), 1.0)
    [second] = machine.handle(Delivered(), 1.0)
    assert (len(first.updates), len(second.updates)) == (BATCH_ITEMS_MAX, 5)


def test_only_versions_that_changed_are_told():
    machine = opened()
    machine.handle(NetworksApplied({"m": 1, "n": 1}), 0.0)
    machine.handle(Tick(), 1.0)
    machine.handle(Delivered(), 1.0)
    machine.handle(NetworksApplied({"n": 2}), 2.0)
    assert machine.handle(Tick(), 3.0) == [Send((), (("n", 2),))]
    machine.check()
