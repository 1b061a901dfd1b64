"""A task's state never goes back, whatever order the reports come in."""

from manager.dispatcher.statuses import StatusBatch, newer_status
from pyswarm.model import TaskState, TaskStatus


def status(state, message=""):
    return TaskStatus(state=state, message=message)


def test_a_later_state_replaces_an_earlier_one():
    assert newer_status(status(TaskState.STARTING), status(TaskState.RUNNING))
    assert not newer_status(status(TaskState.RUNNING), status(TaskState.STARTING))


def test_a_new_message_in_the_same_state_counts():
    assert newer_status(status(TaskState.RUNNING), status(TaskState.RUNNING, "healthy"))
    assert not newer_status(status(TaskState.RUNNING), status(TaskState.RUNNING))


def test_an_end_is_final():
    assert not newer_status(status(TaskState.COMPLETE), status(TaskState.FAILED))


def test_of_each_task_the_newest_status_waits():
    batch = StatusBatch()
    batch.add("t", status(TaskState.RUNNING))
    batch.add("t", status(TaskState.STARTING))
    assert batch.take() == {"t": status(TaskState.RUNNING)}
    assert batch.take() == {}
