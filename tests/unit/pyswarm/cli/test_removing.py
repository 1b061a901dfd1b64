"""What a wait for a removal says."""

from pyswarm.cli.removing import stopping_lines
from pyswarm.model import Node, NodeDescription, NodeState, NodeStatus, Task, TaskState, TaskStatus


def node(name, state=NodeState.READY):
    description = NodeDescription(hostname=name)
    return Node(id=f"id-{name}", description=description, status=NodeStatus(state=state))


def task(slot, host, state=TaskState.RUNNING):
    status = TaskStatus(state=state)
    return Task(id=f"t{slot}", service_name="web", slot=slot, node_id=f"id-{host}", status=status)


NODES = [node("w1"), node("w2"), node("w3", NodeState.DOWN)]


def test_what_has_to_stop_is_named_in_order():
    tasks = [task(10, "w1"), task(2, "w2"), task(3, "w1", TaskState.SHUTDOWN)]
    assert stopping_lines(tasks, NODES) == [
        "removal: 2 tasks have to stop",
        "web.2 on w2",
        "web.10 on w1",
    ]


def test_many_are_only_counted():
    assert stopping_lines([task(n, "w1") for n in range(50)], NODES) == [
        "removal: 50 tasks have to stop"
    ]


def test_nobody_waits_for_a_node_that_is_down():
    assert stopping_lines([task(1, "w3")], NODES) == []
