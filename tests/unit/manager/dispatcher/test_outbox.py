"""A session's messages: complete first, then the difference, then nothing."""

from manager.dispatcher.assignments import NodeAssignments
from manager.dispatcher.outbox import Outbox
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.model import EndpointSet, Task, TaskEndpoint

Kind = dispatcher_pb2.Assignments
TASKS = NodeAssignments(tasks={"t": Task(id="t")})


def test_the_first_assignments_are_complete_even_when_empty():
    message = Outbox().assignments(NodeAssignments()).assignments
    assert (message.kind, message.applies_to, message.results_in) == (Kind.COMPLETE, 0, 1)


def test_later_assignments_name_the_message_before():
    outbox = Outbox()
    outbox.assignments(NodeAssignments())
    message = outbox.assignments(TASKS).assignments
    assert (message.kind, message.applies_to, message.results_in) == (Kind.INCREMENTAL, 1, 2)
    assert outbox.assignments(TASKS) is None


def endpoint_set(version, *tasks, subnet="10.0.0.0/24"):
    return EndpointSet(
        network_id="n",
        version=version,
        subnet=subnet,
        tasks=tuple(TaskEndpoint(task_id=t) for t in tasks),
    )


def test_an_unknown_network_is_sent_whole_and_a_known_one_as_a_delta():
    outbox = Outbox()
    first = outbox.endpoints({"n": endpoint_set(1)}).endpoints
    assert [s.version for s in first.complete] == [1]
    second = outbox.endpoints({"n": endpoint_set(2, "t")}).endpoints
    [change] = second.deltas
    assert (change.applies_to, change.results_in, change.tasks[0].task_id) == (1, 2, "t")


def test_a_new_head_is_sent_whole():
    outbox = Outbox()
    outbox.endpoints({"n": endpoint_set(1)})
    message = outbox.endpoints({"n": endpoint_set(2, subnet="10.9.0.0/24")}).endpoints
    assert len(message.complete) == 1
    assert not message.deltas


def test_a_network_that_no_longer_concerns_the_node_is_taken_back():
    outbox = Outbox()
    outbox.endpoints({"n": endpoint_set(1)})
    assert outbox.endpoints({}).endpoints.removed == ["n"]
    assert outbox.endpoints({}) is None
