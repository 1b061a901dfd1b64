"""The history of a service: numbered, bounded, gone with it."""

from dataclasses import replace

import pytest

from manager.planning import revisions
from pyswarm.errors import NotFound
from pyswarm.model import (
    ContainerSpec,
    FailureAction,
    Revision,
    Service,
    ServiceSpec,
    TaskSpec,
    TaskState,
    UpdateConfig,
)
from pyswarm.testing.world import World


def spec(version=0, **changes):
    task = TaskSpec(container=ContainerSpec(image=f"nginx:{version}"))
    return ServiceSpec(name="web", task=task, **changes)


def numbers(w, s):
    return [revision.number for revision in revisions.history(w.view, w.service(s))]


def test_each_change_of_the_spec_is_a_revision_and_nothing_else_is():
    w = World(1)
    s = w.create(spec())
    w.settle()
    w.change(s, spec(1))
    w.settle()
    w.change(s, spec(1))
    w.change(s, spec(1, replicas=2))
    w.settle()
    kept = revisions.history(w.view, w.service(s))
    assert [(r.number, r.spec) for r in kept] == [
        (1, spec()),
        (2, spec(1)),
        (3, spec(1, replicas=2)),
    ]
    assert [r.meta.created_at for r in kept] == [
        1000.0,
        *sorted({r.meta.created_at for r in kept[1:]}),
    ]


def test_the_last_ten_are_kept_and_go_with_the_service():
    w = World(1)
    s = w.create(spec())
    for version in range(1, 14):
        w.change(s, spec(version))
    assert numbers(w, s) == list(range(5, 15))
    assert w.view.count(Revision) == revisions.KEPT
    with pytest.raises(NotFound, match="no revision 4; kept are 5, 6, 7"):
        revisions.require(w.view, w.service(s), 4)
    assert revisions.require(w.view, w.service(s), 5).spec == spec(4)
    w.remove(s)
    w.settle()
    assert w.view.count(Revision) == 0


def test_an_automatic_rollback_is_in_the_history_with_its_reason():
    config = UpdateConfig(failure_action=FailureAction.ROLLBACK, monitor_seconds=2)
    w = World(1)
    s = w.create(spec(update=config))
    w.settle()
    w.ends = lambda t: TaskState.FAILED if t.spec.container.image == "nginx:1" else None
    w.change(s, spec(1, update=config))
    w.settle()
    last = revisions.history(w.view, w.service(s))[-1]
    assert (last.number, last.spec) == (3, spec(update=config))
    assert last.cause.startswith("update rolled back due to failure or early termination of task")


def test_a_service_of_before_there_was_a_history_begins_with_what_it_was():
    w = World(1)
    s = w.create(spec())
    old = replace(w.service(s), revision=0)
    w.write(lambda tx: tx.delete(Revision, revisions.revision_id(s, 1)))
    w.write(lambda tx: tx.put(old))
    assert numbers(w, s) == []
    w.change(s, spec(1))
    assert [r.spec for r in revisions.history(w.view, w.service(s))] == [spec(), spec(1)]


def test_the_history_of_a_service_is_not_that_of_another_whose_id_begins_alike():
    w = World(1)
    s = w.create(spec())
    other = Service(id=f"{s}-1", spec=replace(spec(), name="other"), spec_version=1)
    w.write(lambda tx: revisions.put_service(tx, other))
    assert numbers(w, s) == [1]
    assert numbers(w, other.id) == [1]
