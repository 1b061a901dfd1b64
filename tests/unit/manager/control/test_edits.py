"""What an update may change, and what follows from it."""

from dataclasses import replace

import pytest

from manager.control import edits
from manager.control.updates.edits import rolled_back, target_of
from manager.control.view_of import public
from pyswarm.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from pyswarm.model import (
    Cluster,
    ClusterSpec,
    ContainerSpec,
    EndpointSpec,
    FileReference,
    JobState,
    JobStatus,
    NetworkAttachmentConfig,
    PayloadSpec,
    PortConfig,
    Secret,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateState,
)

SPEC = ServiceSpec(name="web", task=TaskSpec(container=ContainerSpec(image="nginx:1")))
NEW = replace(SPEC, task=TaskSpec(container=ContainerSpec(image="nginx:2")))
WEB = Service(id="w", spec=SPEC, spec_version=1)


def test_a_changed_task_begins_an_update():
    changed = edits.update_service(WEB, NEW, now=5.0)
    assert changed.spec_version == 2
    assert changed.previous_spec == SPEC
    assert changed.update_status.state == UpdateState.UPDATING


def test_scaling_is_no_update():
    changed = edits.update_service(WEB, replace(SPEC, replicas=5), now=5.0)
    assert (changed.spec_version, changed.update_status.state) == (1, UpdateState.NONE)


def test_the_first_published_port_replaces_the_tasks_and_no_other_does():
    """They are made without the ingress network."""
    web, ssh = PortConfig(target_port=80), PortConfig(target_port=22)
    one = replace(SPEC, endpoint=EndpointSpec(ports=(web,)))
    first = edits.update_service(WEB, one, now=5.0)
    assert first.spec.task != SPEC.task
    assert (first.spec_version, first.update_status.state) == (2, UpdateState.UPDATING)
    two = replace(first.spec, endpoint=EndpointSpec(ports=(web, ssh)))
    for then in (two, replace(first.spec, endpoint=EndpointSpec())):
        assert edits.update_service(first, then, now=6.0).spec == then
    job = replace(WEB, spec=replace(SPEC, mode=ServiceMode.REPLICATED_JOB))
    published = replace(job.spec, endpoint=one.endpoint)
    assert edits.update_service(job, published, now=5.0).spec == published, "or it runs again"


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"mode": ServiceMode.GLOBAL}], ids=["name", "mode"]
)
def test_name_and_mode_stay(change):
    with pytest.raises(Unimplemented):
        edits.update_service(WEB, replace(SPEC, **change), now=5.0)


def test_names_become_ids():
    spec = replace(
        SPEC,
        task=TaskSpec(
            networks=(NetworkAttachmentConfig(target="front"),),
            container=ContainerSpec(secrets=(FileReference(name="password"),)),
        ),
    )
    ids = {"front": "n1", "password": "s1"}.__getitem__
    task = edits.resolve_references(spec, ids, ids, ids).task
    assert task.networks[0].target == "n1"
    assert task.container.secrets[0].id == "s1"


def test_a_missing_network_is_named_with_its_service():
    def missing(name):
        raise NotFound(f"network {name} not found")

    spec = replace(SPEC, task=TaskSpec(networks=(NetworkAttachmentConfig(target="front"),)))
    with pytest.raises(InvalidArgument, match="service web: network front not found"):
        edits.resolve_references(spec, missing, missing, missing)


def test_the_content_of_a_secret_never_changes():
    secret = Secret(id="s", spec=PayloadSpec(name="s", data=b"1"))
    with pytest.raises(InvalidArgument, match="Labels"):
        edits.update_labels(secret, PayloadSpec(name="s", data=b"2"), now=1.0)
    labelled = edits.update_labels(secret, PayloadSpec(name="s", labels={"a": "b"}), now=1.0)
    assert (labelled.spec.data, labelled.spec.labels) == (b"1", {"a": "b"})


OPEN, AUTOLOCK = Cluster(), Cluster(spec=ClusterSpec(autolock=True))
KEY, FRESH = b"k" * 32, b"f" * 32


def test_autolock_brings_an_unlock_key_that_stays_until_it_is_rotated_or_turned_off():
    on = edits.set_unlock_key(AUTOLOCK, KEY, rotate=False)
    assert on.unlock_key == KEY
    assert edits.set_unlock_key(on, FRESH, rotate=False) == on
    assert edits.set_unlock_key(on, FRESH, rotate=True).unlock_key == FRESH
    off = edits.set_unlock_key(replace(on, spec=OPEN.spec), FRESH, rotate=False)
    assert off.unlock_key == b""


def test_without_autolock_there_is_no_key_to_rotate():
    assert edits.set_unlock_key(OPEN, KEY, rotate=False) == OPEN
    with pytest.raises(FailedPrecondition, match="cannot rotate because autolock is not turned on"):
        edits.set_unlock_key(OPEN, KEY, rotate=True)


def test_the_unlock_key_is_no_public_part_of_the_cluster_and_not_in_a_log():
    on = edits.set_unlock_key(AUTOLOCK, KEY, rotate=False)
    assert public(on).unlock_key == b""
    assert "kkk" not in repr(on)


def test_a_changed_job_begins_its_next_iteration_and_more_completions_do_not():
    job = edits.new_service("j", replace(SPEC, mode=ServiceMode.REPLICATED_JOB), now=3.0)
    assert job.job_status == JobStatus(last_execution=3.0)
    over = replace(job, job_status=replace(job.job_status, state=JobState.COMPLETED))
    more = edits.update_service(over, replace(job.spec, replicas=9), now=4.0)
    assert (more.spec_version, more.job_status) == (1, job.job_status)
    again = edits.update_service(over, replace(NEW, mode=job.spec.mode), now=5.0)
    assert again.job_status == JobStatus(iteration=1, last_execution=5.0)
    assert again.update_status.state == UpdateState.NONE
    back = rolled_back(again, edits.update_service(again, target_of(again, None), 6.0), 6.0)
    assert (back.spec, back.job_status.iteration) == (job.spec, 2)
    assert back.update_status.state == UpdateState.NONE
