"""A rotation: which services follow, and how."""

from dataclasses import replace

import pytest

from manager.control import edits, rotation
from manager.control.view_of import newest, versions_of
from manager.orchestrator.tasks import is_current
from manager.placement.versions import superseded
from manager.state import Transaction, View
from manager.state.apply import Building
from manager.state.changes import PUT_TASK, encode_change
from manager.state.tables import KINDS
from pyswarm.errors import AlreadyExists
from pyswarm.model import (
    ContainerSpec,
    FileReference,
    Follow,
    PayloadSpec,
    Revision,
    Secret,
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    UpdateState,
)

ONE = Secret(id="s1", spec=PayloadSpec(name="pw", data=b"one"))


def spec(name, secret_id="s1", follow=Follow.AS_ROTATED, image="web"):
    reference = FileReference(id=secret_id, name="pw", target="pw", follow=follow)
    container = ContainerSpec(image=image, secrets=(reference,))
    return ServiceSpec(name=name, task=TaskSpec(container=container))


def service(name, *arguments, **changes):
    return Service(id=name, spec=spec(name, *arguments), spec_version=1, **changes)


def task(of, state=TaskState.RUNNING):
    return Task(
        id=f"{of.id}-{state}",
        service_id=of.id,
        spec=of.spec.task,
        spec_version=of.spec_version,
        status=TaskStatus(state=state),
    )


def view_of(*records):
    tx = Transaction(View(), 1.0)
    for record in records:
        tx.put(record)
    return tx.view


def rotated(*records, live=False, last=ONE, older=()):
    view = view_of(last, *records)
    return rotation.rotate(view, last, "s2", set(older), live=live, now=9.0)


def shown(record):
    of = record.spec if isinstance(record, Task) else record.spec.task
    return [r.id for r in of.container.secrets]


def test_by_default_a_service_follows_by_an_update_that_can_be_rolled_back():
    done = rotated(service("web"))
    (after,) = done.updates
    assert (done.updated, done.live, done.stayed) == (("web",), (), ())
    assert shown(after) == ["s2"]
    assert (after.spec_version, after.update_status.state) == (2, UpdateState.UPDATING)
    assert after.previous_spec == spec("web")


def test_live_the_service_and_its_tasks_move_together_and_nothing_is_updated():
    web = service("web", previous_spec=spec("web", image="older"), revision=1)
    first = Revision(id="web-1", service_id="web", number=1, spec=web.spec)
    living, ended = task(web), task(web, TaskState.FAILED)
    done = rotated(web, first, living, ended, live=True)
    after, revision, moved = done.records
    assert (done.updated, done.live) == ((), ("web",))
    assert (after.spec_version, after.update_status.state) == (1, UpdateState.NONE)
    assert moved.id == living.id
    assert shown(moved) == shown(after) == ["s2"]
    assert moved.spec == after.spec.task, "or the orchestrator would take it for an old one"
    assert revision.spec == after.spec, "no revision, so the history follows"
    assert [r.id for r in after.previous_spec.task.container.secrets] == ["s2"]


def test_the_entry_of_a_live_rotation_does_not_hold_the_spec_of_each_task():
    web = service("web")
    after, moved = rotated(web, task(web), live=True).records
    tx = Transaction(view_of(web, task(web)), 1.0)
    tx.put(after)
    tx.put(moved)
    frame = encode_change(tx.befores[1], tx.changes[1])
    assert frame[0] == PUT_TASK


@pytest.mark.parametrize("live", [False, True])
def test_each_reference_may_say_how_it_follows(live):
    done = rotated(
        service("always-live", "s1", Follow.LIVE),
        service("always-new", "s1", Follow.UPDATE),
        service("fixed", "s1", Follow.NEVER),
        live=live,
    )
    assert (done.live, done.updated) == (("always-live",), ("always-new",))
    assert done.stayed == ("fixed",)


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.COMPLETE])
def test_a_job_is_not_run_again_and_its_next_run_has_the_new_version(state):
    job = replace(service("job"), spec=replace(spec("job"), mode=ServiceMode.REPLICATED_JOB))
    done = rotated(job, task(job, state))
    (after,) = done.records
    assert (done.jobs, done.updated, done.live, done.stayed) == (("job",), (), (), ())
    assert shown(after) == ["s2"]
    assert (after.spec_version, after.job_status) == (job.spec_version, job.job_status)
    assert is_current(after, task(job, state)), "or a slot that was given up would begin anew"
    assert rotated(job, task(job), live=True).live == ("job",)


def test_a_service_that_was_rolled_back_stays_unless_the_rotation_is_live():
    back = service("web", "s0")
    assert rotated(back, older={"s0"}).stayed == ("web",)
    assert rotated(back, older={"s0"}, live=True).live == ("web",)


def test_services_that_are_being_removed_and_those_of_other_secrets_do_not_count():
    done = rotated(service("going", pending_delete=True), service("other", "s9"))
    assert done == rotation.Rotation()


def test_the_newest_version_has_the_name():
    two = rotation.next_version(ONE, "s2", PayloadSpec(name="pw", data=b"two"), "SIGHUP")
    assert (two.version, two.spec.data, two.signal) == (2, b"two", "SIGHUP")
    view = view_of(ONE, two)
    assert view.resolve(Secret, "pw").id == "s2"
    assert [v.id for v in versions_of(view, ONE)] == ["s2", "s1"]
    assert [v.id for v in newest(view, Secret)] == ["s2"]
    building = Building()
    for kind in KINDS.values():
        building.take(kind, view.list(kind))
    again = building.finish()
    assert again.names == view.names, "as after a restart"


def test_a_name_is_not_taken_by_another_first_version():
    with pytest.raises(AlreadyExists):
        view_of(ONE, replace(ONE, id="x"))


def test_an_old_version_goes_and_the_name_stays():
    tx = Transaction(view_of(ONE, rotation.next_version(ONE, "s2", ONE.spec, "")), 1.0)
    tx.delete(Secret, "s1")
    assert tx.view.resolve(Secret, "pw").id == "s2"


def versions(count):
    return [replace(ONE, id=f"s{n}", version=n) for n in range(1, count + 1)]


def test_two_versions_are_kept_and_older_ones_while_anything_refers_to_them():
    pinned = service("web", "s1", previous_spec=spec("web", "s2"))
    view = view_of(*versions(5), pinned)
    assert [v.id for v in superseded(view, Secret)[0]] == ["s3"]
    late = service("late", "s5")
    last = replace(task(late), spec=spec("late", "s3").task)
    assert superseded(view_of(*versions(5), pinned, late, last), Secret) == ([], True)
    done = replace(last, status=TaskStatus(state=TaskState.COMPLETE))
    view = view_of(*versions(5), pinned, late, done)
    assert [v.id for v in superseded(view, Secret)[0]] == ["s3"]


def test_a_rollback_to_a_version_that_has_gone_takes_the_newest():
    view = view_of(*versions(5)[3:])

    def gone_back(secret_id):
        def find(ref):
            return view.resolve(Secret, ref).id

        back = edits.resolve_references(spec("web", secret_id), find, find, find)
        return [r.id for r in back.task.container.secrets]

    assert gone_back("s1") == ["s5"]
    assert gone_back("s4") == ["s4"]
