"""What a rollback goes back to, and what an operator makes of an update."""

from dataclasses import replace

import pytest

from manager.control import edits
from manager.control.updates.edits import (
    ABORT,
    CONTINUE,
    PAUSE,
    rolled_back,
    steered,
    target_of,
)
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import ContainerSpec, Service, ServiceSpec, TaskSpec, UpdateState, UpdateStatus


def spec(version, replicas=1):
    image = f"nginx:{version}"
    task = TaskSpec(container=ContainerSpec(image=image))
    return ServiceSpec(name="web", replicas=replicas, task=task)


WEB = Service(id="w", spec=spec(1), spec_version=1)


def updated(service, *specs):
    for each in specs:
        service = edits.update_service(service, each, now=5.0)
    return service


def at(service, state):
    return replace(service, update_status=replace(service.update_status, state=state))


def completed(service):
    return at(service, UpdateState.COMPLETED)


def rollback(service, to=None, now=6.0):
    target = target_of(service, to)
    return rolled_back(service, edits.update_service(service, target, now), now)


def test_a_rollback_goes_back_and_a_second_one_forward_again():
    back = rollback(completed(updated(WEB, spec(2))))
    assert (back.spec, back.spec_version, back.previous_spec) == (spec(1), 3, spec(2))
    status = back.update_status
    assert status.state == UpdateState.ROLLBACK_STARTED
    assert (status.message, status.started_at) == ("manually requested rollback", 6.0)
    again = rollback(back)
    assert (again.spec, again.previous_spec) == (spec(2), spec(1))


def test_there_is_no_rollback_without_a_previous_spec_nor_to_the_present_one():
    with pytest.raises(InvalidArgument, match="service web does not have a previous spec"):
        rollback(WEB)
    with pytest.raises(InvalidArgument, match="nothing to roll back"):
        rollback(WEB, to=spec(1))


def test_scaling_can_be_taken_back():
    assert rollback(updated(WEB, spec(1, replicas=5))).spec == spec(1)


def test_an_update_that_takes_over_from_an_unfinished_one_goes_back_to_what_worked():
    for state in (UpdateState.UPDATING, UpdateState.PAUSED):
        second = updated(at(updated(WEB, spec(2)), state), spec(3))
        assert second.previous_spec == spec(1)
    assert updated(completed(updated(WEB, spec(2))), spec(3)).previous_spec == spec(2)


def test_an_update_that_takes_over_from_a_rollback_goes_back_to_where_that_went():
    back = rollback(completed(updated(WEB, spec(2))))
    third = updated(back, spec(3))
    assert (third.previous_spec, third.update_status.state) == (spec(1), UpdateState.UPDATING)


def test_scaling_during_an_update_stays_when_that_goes_back():
    scaled = updated(WEB, spec(2), spec(2, replicas=5))
    assert scaled.previous_spec == spec(1, replicas=5)
    assert (scaled.spec_version, scaled.update_status.state) == (2, UpdateState.UPDATING)


def test_a_change_of_nothing_leaves_the_way_back():
    done = completed(updated(WEB, spec(2)))
    assert updated(done, spec(2)).previous_spec == spec(1)


def test_an_update_is_paused_and_goes_on_with_a_clean_record():
    paused = steered(updated(WEB, spec(2)), PAUSE, now=7.0)
    assert paused.update_status.state == UpdateState.PAUSED
    assert paused.update_status.message == "update paused on request"
    timed_out = replace(paused, update_status=replace(paused.update_status, timed_out=True))
    status = steered(timed_out, CONTINUE, now=9.0).update_status
    assert status == UpdateStatus(
        state=UpdateState.UPDATING, started_at=9.0, progressed_at=9.0, message="update in progress"
    )


def test_a_rollback_is_paused_and_goes_on_as_a_rollback():
    back = rollback(completed(updated(WEB, spec(2))))
    paused = steered(back, PAUSE, now=7.0)
    assert paused.update_status.state == UpdateState.ROLLBACK_PAUSED
    status = steered(paused, CONTINUE, now=8.0).update_status
    assert status.state == UpdateState.ROLLBACK_STARTED


@pytest.mark.parametrize("state", [UpdateState.UPDATING, UpdateState.PAUSED])
def test_an_aborted_update_goes_back_with_the_replicas_of_now_and_keeps_no_way_to_what_was(state):
    running = at(updated(WEB, spec(2, replicas=3)), state)
    back = steered(running, ABORT, now=8.0)
    assert (back.spec, back.spec_version, back.previous_spec) == (spec(1, replicas=3), 3, None)
    status = back.update_status
    assert (status.state, status.message) == (
        UpdateState.ROLLBACK_STARTED,
        "update aborted on request",
    )


@pytest.mark.parametrize(
    ("state", "action", "words"),
    [
        (UpdateState.NONE, PAUSE, "no update in progress to pause"),
        (UpdateState.PAUSED, PAUSE, "no update in progress to pause"),
        (UpdateState.UPDATING, CONTINUE, "no paused update to continue"),
        (UpdateState.COMPLETED, ABORT, "no update to abort: use 'service rollback'"),
        (UpdateState.ROLLBACK_STARTED, ABORT, "on its way back already"),
    ],
)
def test_what_an_update_is_not_in_the_state_for_is_refused(state, action, words):
    with pytest.raises(FailedPrecondition, match=words):
        steered(at(updated(WEB, spec(2)), state), action, now=1.0)


def test_an_action_that_is_none_is_refused():
    with pytest.raises(InvalidArgument, match="99 is no action"):
        steered(WEB, 99, now=1.0)
