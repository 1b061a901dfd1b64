"""Volumes between the store and the nodes."""

from dataclasses import replace

from manager.dispatcher.volumes import ReportedVolume, of_node, reported
from manager.state import Transaction, View
from pyswarm.model import (
    ContainerSpec,
    Mount,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    Volume,
    VolumeOnNode,
    VolumeSpec,
)

DATA = VolumeSpec(name="data")
MOUNTS = TaskSpec(container=ContainerSpec(mounts=(Mount(source="data", target="/data"),)))


def task(task_id, node_id, slot=1, **changes):
    status = TaskStatus(state=TaskState.RUNNING)
    return Task(
        id=task_id,
        service_name="db",
        slot=slot,
        node_id=node_id,
        spec=MOUNTS,
        status=status,
        **changes,
    )


def view_of(*records):
    tx = Transaction(View(), 1.0)
    for record in records:
        tx.put(record)
    return tx.view


def report(view, node_id, *volumes, freed=None):
    return reported(view, node_id, volumes, freed or {}, lambda: "new")


def test_what_a_task_made_becomes_a_record_with_its_slot():
    seen = ReportedVolume(spec=DATA, created_at=7.0, tasks=("t",))
    (volume,) = report(view_of(task("t", "a")), "a", seen)
    assert (volume.id, volume.spec) == ("new", DATA)
    assert volume.nodes == (VolumeOnNode(node_id="a", slots=("db.1",), created_at=7.0),)


def test_a_job_that_shall_complete_has_its_home_where_it_wrote():
    job = task("t", "a", desired_state=TaskState.COMPLETE)
    (volume,) = report(view_of(job), "a", ReportedVolume(spec=DATA, tasks=("t",)))
    assert volume.nodes == (VolumeOnNode(node_id="a", slots=("db.1",)),)


def test_the_same_report_again_changes_nothing():
    nodes = (VolumeOnNode(node_id="a", slots=("db.1",)),)
    view = view_of(task("t", "a"), Volume(id="v", spec=DATA, nodes=nodes))
    assert report(view, "a", ReportedVolume(spec=DATA, tasks=("t",))) == []


def test_a_slot_keeps_its_home_when_no_task_runs():
    view = view_of(Volume(id="v", spec=DATA, nodes=(VolumeOnNode(node_id="a", slots=("db.1",)),)))
    assert report(view, "a", ReportedVolume(spec=DATA)) == []


def test_a_slot_that_began_anew_elsewhere_has_its_home_there():
    old = Volume(id="v", spec=DATA, nodes=(VolumeOnNode(node_id="b", slots=("db.1",)),))
    view = view_of(task("t", "a"), old)
    (volume,) = report(view, "a", ReportedVolume(spec=DATA, tasks=("t",)))
    here, there = volume.nodes
    assert (here.node_id, here.slots) == ("a", ("db.1",))
    assert (there.node_id, there.slots, there.released) == ("b", (), True)


def test_a_task_that_is_not_wanted_any_more_has_no_say():
    old = Volume(id="v", spec=DATA, nodes=(VolumeOnNode(node_id="b", slots=("db.1",)),))
    view = view_of(task("t", "a", desired_state=TaskState.SHUTDOWN), task("u", "b"), old)
    (volume,) = report(view, "a", ReportedVolume(spec=DATA, tasks=("t", "u", "none")))
    assert [n.slots for n in volume.nodes] == [(), ("db.1",)]


def test_what_a_node_does_not_name_it_does_not_have():
    nodes = (VolumeOnNode(node_id="a"), VolumeOnNode(node_id="b"))
    going = Volume(id="v", spec=DATA, nodes=nodes, pending_delete=True)
    (volume,) = report(view_of(going), "a", freed={"data": 100})
    assert ([n.node_id for n in volume.nodes], volume.freed_bytes) == (["b"], 100)


def test_a_node_hears_of_the_volumes_of_its_tasks_and_of_those_to_remove():
    keep = Volume(id="v1", spec=DATA, nodes=(VolumeOnNode(node_id="b"),))
    nodes = (VolumeOnNode(node_id="a"),)
    going = Volume(id="v2", spec=VolumeSpec(name="old"), nodes=nodes, pending_delete=True)
    other = Volume(id="v3", spec=VolumeSpec(name="other"), nodes=nodes)
    view = view_of(keep, going, other)
    found = of_node(view, "a", [task("t", "a")])
    assert sorted(found) == ["v1", "v2"]
    assert found["v1"].nodes == ()
    assert found["v2"].pending_delete
    ended = replace(task("t", "a"), status=TaskStatus(state=TaskState.COMPLETE))
    assert sorted(of_node(view, "b", [ended])) == []
