"""A stop goes out when nobody begins a connection to its task any more."""

from dataclasses import replace

from manager.dispatcher.draining import BOUND_SECONDS, NAME_SECONDS, Draining
from pyswarm.core import NEVER
from pyswarm.model import (
    EndpointSet,
    NetworkAttachment,
    NodeEndpoint,
    ResolutionMode,
    ServiceEndpoint,
    Task,
    TaskState,
    TaskStatus,
)

TASK = Task(
    id="t",
    service_id="s",
    node_id="n1",
    networks=(NetworkAttachment(network_id="net"),),
    status=TaskStatus(state=TaskState.RUNNING),
)
STOP = replace(TASK, desired_state=TaskState.SHUTDOWN)
NODES = tuple(NodeEndpoint(node_id=n) for n in ("n1", "n2", "n3"))


def sets(version=7, nodes=NODES, mode=ResolutionMode.VIP):
    service = ServiceEndpoint(service_id="s", mode=mode)
    return {"net": EndpointSet(network_id="net", version=version, nodes=nodes, services=(service,))}


LIVE = ("n1", "n2", "n3")


def told(draining, task=STOP):
    return draining.as_told(task).desired_state


def test_a_stop_waits_for_every_node_of_the_network():
    draining = Draining()
    draining.consider(STOP, sets(), 0.0)
    for node in ("n1", "n2"):
        draining.applied("net", node, 7)
    draining.applied("net", "n3", 6)
    assert draining.advance(sets(), LIVE, 0.1) == []
    assert told(draining) == TaskState.RUNNING
    draining.applied("net", "n3", 9)
    assert draining.advance(sets(9), LIVE, 0.2) == ["n1"]
    assert told(draining) == TaskState.SHUTDOWN
    assert draining.advance(sets(9), LIVE, 0.3) == [], "it is told once"
    assert draining.deadline() == NEVER


def test_a_node_that_does_not_answer_holds_a_stop_so_long_and_no_longer():
    draining = Draining()
    draining.consider(STOP, sets(), 10.0)
    assert draining.deadline() == 10.0 + BOUND_SECONDS
    assert draining.advance(sets(), LIVE, 10.0 + BOUND_SECONDS - 0.1) == []
    assert draining.advance(sets(), LIVE, 10.0 + BOUND_SECONDS) == ["n1"]


def test_a_node_that_is_down_or_left_the_network_does_not_count():
    draining = Draining()
    draining.consider(STOP, sets(), 0.0)
    draining.applied("net", "n1", 7)
    assert draining.advance(sets(nodes=NODES[:2]), LIVE, 0.1) == []
    assert draining.advance(sets(nodes=NODES[:2]), ("n1", "n3"), 0.2) == ["n1"]


def test_a_network_that_is_gone_does_not_count():
    draining = Draining()
    draining.consider(STOP, sets(), 0.0)
    assert draining.advance({}, LIVE, 0.1) == ["n1"]


def test_a_stop_that_nobody_considered_yet_is_withheld():
    """A session may look at the store before the sets were derived from it."""
    assert told(Draining()) == TaskState.RUNNING


def test_only_a_task_that_runs_in_a_network_waits():
    draining = Draining()
    for task in (
        replace(STOP, networks=()),
        replace(STOP, status=TaskStatus(state=TaskState.STARTING)),
        replace(STOP, status=TaskStatus(state=TaskState.SHUTDOWN)),
    ):
        draining.consider(task, sets(), 0.0)
        assert told(draining, task) == TaskState.SHUTDOWN
    assert draining.deadline() == NEVER


def test_the_names_of_tasks_are_forgotten_first_where_they_lead_to_the_tasks():
    draining, by_name = Draining(), sets(mode=ResolutionMode.DNSRR)
    draining.consider(STOP, by_name, 0.0)
    for node in LIVE:
        draining.applied("net", node, 7)
    assert draining.advance(by_name, LIVE, 1.0) == []
    assert draining.deadline() == 1.0 + NAME_SECONDS
    assert draining.advance(by_name, LIVE, 1.0 + NAME_SECONDS) == ["n1"]


def test_what_is_seen_again_does_not_wait_again():
    draining = Draining()
    draining.consider(STOP, sets(), 0.0)
    draining.advance(sets(), (), 0.1)
    draining.consider(STOP, sets(99), 50.0)
    assert told(draining) == TaskState.SHUTDOWN


def test_a_task_that_ended_is_forgotten():
    draining = Draining()
    draining.consider(STOP, sets(), 0.0)
    draining.consider(replace(STOP, status=TaskStatus(state=TaskState.SHUTDOWN)), sets(), 1.0)
    assert draining.deadline() == NEVER
    draining.consider(STOP, sets(), 2.0)
    draining.forget("t")
    assert draining.deadline() == NEVER
