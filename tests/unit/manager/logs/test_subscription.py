"""A request for logs asks each node once for each task, and ends when all have answered."""

from manager.logs.subscription import AskNode, LogRequest
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
