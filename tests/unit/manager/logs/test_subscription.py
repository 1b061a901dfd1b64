"""A request for logs asks each node once for each task, and ends when all have answered."""

from manager.logs.subscription import AskNode, LogRequest, Positions
from pyswarm.model import Task, TaskState, TaskStatus


def task(task_id, node="n1", state=TaskState.RUNNING):
    return Task(id=task_id, node_id=node, slot=1, status=TaskStatus(state=state))


def test_tasks_are_asked_for_by_node():
    request = LogRequest(follow=False)
    assert request.ask([task("a"), task("b", "n2"), task("c")]) == [
        AskNode(node_id="n1", tasks=("a", "c")),
        AskNode(node_id="n2", tasks=("b",)),
    ]


def test_a_task_is_asked_for_once():
    request = LogRequest(follow=True)
    request.ask([task("a")])
    assert request.ask([task("a"), task("b")]) == [AskNode(node_id="n1", tasks=("b",))]


def test_a_task_that_is_on_no_node_has_no_logs():
    assert LogRequest(follow=False).ask([task("a", "", TaskState.PENDING)]) == []


def test_the_request_is_complete_when_every_asking_is_answered():
    request = LogRequest(follow=False)
    request.ask([task("a")])
    request.ask([task("b")])
    request.done("n1")
    assert not request.complete
    request.done("n1")
    assert request.complete


def test_a_request_that_follows_never_ends():
    request = LogRequest(follow=True)
    request.ask([task("a")])
    request.done("n1")
    assert not request.complete


def test_who_follows_asks_a_node_again_once_it_is_back():
    request = LogRequest(follow=True)
    request.ask([task("a")], ["n1"])
    for time in (5.0, 7.0, 7.0):
        request.positions.take("a", time)
    request.lost("n1")
    assert request.ask([task("a")], []) == []
    assert request.ask([task("a")], ["n1"]) == [AskNode(node_id="n1", tasks=("a",), since=7.0)]
    shown = [time for time in (5.0, 7.0, 7.0, 7.0, 8.0) if request.positions.take("a", time)]
    assert shown == [7.0, 8.0], "what is new is shown, and what was shown is not"


def test_who_does_not_follow_is_through_with_a_node_that_is_lost():
    request = LogRequest(follow=False)
    request.ask([task("a")])
    request.lost("n1")
    assert request.complete
    assert request.ask([task("a")], ["n1"]) == []


def test_lines_of_one_moment_are_counted():
    positions = Positions()
    assert all(positions.take("a", 1.0) for _ in range(3))
    assert positions.resume(["a"]) == 1.0
    assert [positions.take("a", 1.0) for _ in range(5)] == [False] * 3 + [True] * 2


def test_a_clock_that_was_set_back_hides_no_line():
    positions = Positions()
    assert [positions.take("a", time) for time in (5.0, 3.0, 4.0)] == [True] * 3
