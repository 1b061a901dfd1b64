"""What a commit's changes are called."""

from dataclasses import replace

import pytest

from manager.events.derive import difference, events_of
from manager.state.apply import apply_change
from manager.state.changes import Changed, Put
from manager.state.tables import View
from pyswarm.model import (
    Availability,
    ContainerSpec,
    ExecRecord,
    Meta,
    Network,
    NetworkSpec,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    PayloadSpec,
    Secret,
    Service,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    UpdateState,
    UpdateStatus,
)

WEB = Service(id="s1", meta=Meta(version=3, updated_at=50.0), spec=ServiceSpec(name="web"))
NODE = Node(
    id="n1", description=NodeDescription(hostname="w1"), status=NodeStatus(state=NodeState.READY)
)
TASK = Task(id="t1", service_id="s1", service_name="web", slot=2, node_id="n1")


def said(old, new):
    """Action and attributes of the events of one change, without the name."""
    record = new if new is not None else old
    change = Changed(type(record), record.id, old, new)
    events = events_of([change], 7, 99.0, {"n1": "w1", "m1": "boss"}.get)
    return [(e.action, {k: v for k, v in e.attributes.items() if k != "name"}) for e in events]


def test_creating_and_removing_are_said_with_the_name():
    for record in (WEB, NODE, Network(id="x", spec=NetworkSpec(name="front"))):
        assert said(None, record) == [("create", {})]
        assert said(record, None) == [("remove", {})]
    secret = Secret(id="x", spec=PayloadSpec(name="password", data=b"hush"))
    [event] = events_of([Changed(Secret, "x", None, secret)], 7, 99.0, str)
    assert (event.type, event.attributes) == ("secret", {"name": "password"})


def test_a_service_goes_when_its_user_removes_it_and_not_once_more_with_its_record():
    gone = replace(WEB, pending_delete=True)
    assert said(WEB, gone) == [("remove", {})]
    assert said(gone, None) == []


def test_an_update_says_what_has_changed():
    container = ContainerSpec(image="web:2")
    new = replace(WEB, spec=replace(WEB.spec, replicas=5, task=TaskSpec(container=container)))
    assert said(WEB, new) == [
        (
            "update",
            {"image.old": "", "image.new": "web:2", "replicas.old": "1", "replicas.new": "5"},
        )
    ]


def test_an_update_that_pauses_says_why():
    status = UpdateStatus(state=UpdateState.PAUSED, message="task t9 failed")
    old = replace(WEB, update_status=UpdateStatus(state=UpdateState.UPDATING))
    assert said(old, replace(WEB, update_status=status)) == [
        (
            "update",
            {
                "updatestate.old": "updating",
                "updatestate.new": "paused",
                "message": "task t9 failed",
            },
        )
    ]


def test_what_only_the_managers_care_about_is_no_news():
    assert said(WEB, replace(WEB, spec_version=9)) == []
    assert said(NODE, replace(NODE, certificate_serial="1")) == []
    assert said(TASK, replace(TASK, desired_state=TaskState.SHUTDOWN)) == []
    assert said(TASK, None) == []


def test_a_node_that_goes_down_says_why():
    down = replace(NODE, status=NodeStatus(state=NodeState.DOWN, message="no beat for 3 s"))
    assert said(NODE, down) == [
        ("update", {"state.old": "ready", "state.new": "down", "message": "no beat for 3 s"})
    ]
    drained = replace(NODE, spec=NodeSpec(availability=Availability.DRAIN))
    assert said(NODE, drained) == [
        ("update", {"availability.old": "active", "availability.new": "drain"})
    ]


def test_a_task_that_fails_says_where_and_with_what():
    status = TaskStatus(state=TaskState.FAILED, error="exit 3", container_id="t1", exit_code=3)
    [(action, attributes)] = said(TASK, replace(TASK, status=status))
    assert action == "failed"
    assert attributes == {
        "service": "web",
        "service.id": "s1",
        "node": "w1",
        "node.id": "n1",
        "error": "exit 3",
        "exitCode": "3",
    }


def test_a_program_that_was_run_is_on_its_tasks_record():
    begun = ExecRecord(
        id="x",
        task_id="t1",
        task_name="web.2.t1",
        service_id="s1",
        service_labels={"team": "shop"},
        node_id="n1",
        manager_id="m1",
        command=("ls", "/"),
        asked_by="eve",
    )
    [event] = events_of([Changed(ExecRecord, "x", None, begun)], 7, 99.0, {"m1": "boss"}.get)
    assert (event.type, event.id, event.action) == ("task", "t1", "exec_start")
    assert event.attributes["command"] == "ls /"
    assert event.labels == {"team": "shop"}
    assert event.attributes["service"] == "web"
    assert (event.attributes["by"], event.attributes["via"]) == ("eve", "boss")
    [(action, attributes)] = said(begun, replace(begun, ended=True, exit_code=2))
    assert (action, attributes["exitCode"]) == ("exec_die", "2")


def test_an_event_has_the_time_of_its_record_and_its_place_in_the_log():
    changes = [Changed(Service, "s1", None, WEB), Changed(Node, "n1", NODE, None)]
    first, second = events_of(changes, 7, 99.0, str)
    assert (first.time, first.key) == (50.0, (7, 0))
    assert (second.time, second.key) == (99.0, (7, 1)), "what is gone carries no time of its own"


def view(*records):
    made = View()
    for record in records:
        made = apply_change(made, Put(record))
    return made


def test_what_a_snapshot_brings_is_found_by_comparing():
    changed = replace(WEB, meta=Meta(version=4), pending_delete=True)
    found = {c.id: (c.old, c.new) for c in difference(view(WEB, NODE), view(changed, TASK))}
    assert found == {"s1": (WEB, changed), "t1": (None, TASK), "n1": (NODE, None)}
    assert list(difference(view(WEB), view(WEB))) == []


@pytest.mark.parametrize("state", [s for s in TaskState if s > TaskState.NEW])
def test_each_state_of_a_task_has_its_word(state):
    [(action, _)] = said(TASK, replace(TASK, status=TaskStatus(state=state)))
    assert action == state.name.lower()
