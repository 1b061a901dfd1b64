"""What a wait for an empty node says."""

from pyswarm.cli.draining import drain_lines, staying
from pyswarm.model import Task, TaskState, TaskStatus


def task(task_id, node, state=TaskState.RUNNING, desired=TaskState.RUNNING, slot=1, error=""):
    return Task(
        id=task_id,
        service_id="s",
        service_name="web",
        node_id=node,
        slot=slot,
        desired_state=desired,
        status=TaskStatus(state=state, message="pending task scheduling", error=error),
    )


def test_what_has_ended_or_is_elsewhere_does_not_stay():
    tasks = [task("a", "n1", TaskState.SHUTDOWN, TaskState.SHUTDOWN), task("b", "n2")]
    assert staying("n1", tasks) == []
    assert drain_lines("w1", 1, []) == ["drain: node w1 is empty"]


def test_a_task_that_stops_is_said_to():
    left = staying("n1", [task("a", "n1", desired=TaskState.SHUTDOWN), task("b", "n2")])
    assert drain_lines("w1", 3, left) == [
        "drain: 2 of 3 tasks have left node w1",
        "web.1: running  is stopping",
    ]


def test_a_task_that_waits_says_for_what():
    why = "no suitable node (1 node not available)"
    [left] = staying("n1", [task("a", "n1"), task("b", "", TaskState.PENDING, error=why)])
    assert left.reason == f"waits until its successor b runs, which is pending: {why}"
    [left] = staying("n1", [task("a", "n1"), task("b", "n2", slot=2)])
    assert left.reason == "has no successor yet"


def test_many_tasks_are_only_counted():
    left = staying("n1", [task(str(n), "n1", slot=n) for n in range(1, 40)])
    assert drain_lines("w1", 50, left) == ["drain: 11 of 50 tasks have left node w1"]
