"""How a wait ends: exit codes, rollbacks that were asked for or not, and the time it has."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarm.cli.job_progress import JobWait
from pyswarm.cli.outcomes import Outcome
from pyswarm.cli.progress import (
    Convergence,
    Phase,
    Progress,
    SlotProgress,
    measure,
    service_lines,
)
from pyswarm.core import NEVER
from pyswarm.model import (
    EndpointSpec,
    PortConfig,
    PublishMode,
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)

CONFIG = UpdateConfig(progress_deadline_seconds=30, monitor_seconds=5)
WEB = Service(
    id="s", spec=ServiceSpec(name="web", replicas=2, update=CONFIG, rollback=CONFIG), spec_version=3
)
DONE, HALF = Progress(2, 2), Progress(1, 2)
STUCK = Progress(1, 2, (SlotProgress("1/2", TaskState.PENDING, "no suitable node"),))


def at(state, message="", **changes):
    return replace(WEB, update_status=UpdateStatus(state=state, message=message, **changes))


def seen(wait, *services, progress=HALF):
    for now, service in enumerate(services):
        wait.handle(service, progress, float(now))
        wait.check()
    return wait.phase, wait.outcome


def test_an_update_that_is_rolled_back_ends_with_its_reason_and_a_code_of_its_own():
    wait = Convergence(at(UpdateState.UPDATING))
    back = at(UpdateState.ROLLBACK_STARTED, "update rolled back due to failure of task x")
    assert seen(wait, at(UpdateState.UPDATING), back)[0] == Phase.WORKING
    assert service_lines(wait) == [
        "overall progress: rolling back update: 1 out of 2 tasks",
        "rollback: update rolled back due to failure of task x",
    ]
    ended = seen(wait, at(UpdateState.ROLLBACK_COMPLETED, "rollback completed"))
    assert ended == (Phase.FAILED, Outcome.ROLLED_BACK)
    assert wait.verdict == "service rolled back: update rolled back due to failure of task x"


def test_a_rollback_that_was_asked_for_converges():
    wait = Convergence(at(UpdateState.ROLLBACK_STARTED))
    assert seen(wait, at(UpdateState.ROLLBACK_STARTED))[0] == Phase.WORKING
    ended = seen(wait, at(UpdateState.ROLLBACK_COMPLETED), progress=DONE)
    assert ended == (Phase.CONVERGED, Outcome.CONVERGED)


def test_an_update_that_takes_over_from_a_rollback_can_be_rolled_back_in_turn():
    wait = Convergence(at(UpdateState.ROLLBACK_STARTED))
    seen(wait, at(UpdateState.UPDATING), at(UpdateState.ROLLBACK_COMPLETED))
    assert wait.outcome == Outcome.ROLLED_BACK


@pytest.mark.parametrize(
    ("state", "timed_out", "outcome", "words"),
    [
        (UpdateState.PAUSED, False, Outcome.PAUSED, "service update paused: why"),
        (UpdateState.PAUSED, True, Outcome.TIMED_OUT, "service update paused: why"),
        (UpdateState.ROLLBACK_PAUSED, False, Outcome.PAUSED, "service rollback paused: why"),
        (UpdateState.ROLLBACK_PAUSED, True, Outcome.TIMED_OUT, "service rollback paused: why"),
    ],
)
def test_a_pause_has_its_code_and_one_at_the_deadline_another(state, timed_out, outcome, words):
    wait = Convergence(at(UpdateState.UPDATING))
    assert seen(wait, at(state, "why", timed_out=timed_out)) == (Phase.FAILED, outcome)
    assert wait.verdict == words


def test_an_older_pause_holds_back_what_needs_the_update_to_go_on():
    paused = at(UpdateState.PAUSED, "why")
    wait = Convergence(paused)
    held = seen(wait, paused, progress=Progress(1, 2, outdated=1))
    assert held == (Phase.FAILED, Outcome.PAUSED)
    free = Convergence(paused)
    assert seen(free, paused, progress=HALF)[0] == Phase.WORKING


def test_where_nothing_was_changed_there_is_nothing_to_verify():
    wait = Convergence(WEB, settled=True)
    assert seen(wait, WEB, progress=DONE) == (Phase.CONVERGED, Outcome.CONVERGED)
    incomplete = Convergence(WEB, settled=True)
    seen(incomplete, WEB, progress=HALF)
    incomplete.handle(WEB, DONE, 2.0)
    assert incomplete.phase == Phase.VERIFYING


def test_a_wait_in_which_nothing_comes_forward_times_out_with_what_is_in_the_way():
    wait = Convergence(WEB)
    wait.handle(WEB, STUCK, now=10.0)
    assert wait.deadline() == 40.0
    wait.handle(WEB, STUCK, now=39.0)
    assert wait.phase == Phase.WORKING
    wait.tick(now=40.0)
    assert (wait.phase, wait.outcome) == (Phase.FAILED, Outcome.TIMED_OUT)
    assert wait.verdict == (
        "timed out: nothing has come forward for 30 seconds: 1/2: no suitable node"
    )


def test_a_wait_that_never_hears_anything_times_out_too():
    wait = Convergence(WEB, started=5.0)
    wait.tick(now=34.0)
    assert wait.phase == Phase.WORKING
    wait.tick(now=35.0)
    assert wait.outcome == Outcome.TIMED_OUT


def test_more_running_tasks_than_ever_are_progress_and_the_same_again_are_not():
    wait = Convergence(WEB)
    wait.handle(WEB, Progress(0, 2), now=0.0)
    wait.handle(WEB, HALF, now=20.0)
    assert wait.deadline() == 50.0
    wait.handle(WEB, Progress(0, 2), now=30.0)
    wait.handle(WEB, HALF, now=40.0)
    assert wait.deadline() == 50.0


def test_the_managers_end_an_update_and_this_side_only_where_they_do_not():
    wait = Convergence(at(UpdateState.UPDATING))
    wait.handle(at(UpdateState.UPDATING), HALF, now=0.0)
    # The deadline, the monitor period, the grace of a stop, and two minutes.
    assert wait.deadline() == 30.0 + 5.0 + 10.0 + 120.0


def test_a_job_that_runs_takes_its_time_and_one_that_cannot_begin_does_not():
    job = replace(WEB, spec=replace(WEB.spec, mode=ServiceMode.REPLICATED_JOB))
    wait = JobWait(job)
    wait.handle(job, HALF, now=0.0)
    assert wait.deadline() == NEVER
    wait.handle(job, Progress(0, 2), now=100.0)
    assert wait.deadline() == 130.0
    wait.tick(now=130.0)
    assert wait.outcome == Outcome.TIMED_OUT


OLD = TaskSpec(force_update=7)
PORT = PortConfig(target_port=80, published_port=80, publish_mode=PublishMode.HOST)


PLAIN = TaskSpec()


def task(slot, version, spec=PLAIN, **changes):
    return Task(
        id=f"{slot}-{version}",
        service_id="s",
        node_id="n",
        slot=slot,
        spec=spec,
        spec_version=version,
        desired_state=TaskState.RUNNING,
        status=TaskStatus(state=TaskState.RUNNING),
        **changes,
    )


def test_after_a_rollback_tasks_that_are_right_under_an_older_number_count():
    progress = measure(WEB, [task(1, 1), task(2, 3)], {"n": "host"})
    assert (progress.running, progress.outdated) == (2, 0)
    progress = measure(WEB, [task(1, 2, OLD), task(2, 3)], {"n": "host"})
    assert (progress.running, progress.outdated) == (1, 1)


def test_a_task_without_a_port_that_its_service_now_opens_on_the_host_is_outdated():
    spec = replace(WEB.spec, endpoint=EndpointSpec(ports=(PORT,)))
    tasks = [task(1, 3), task(2, 3, ports=(PORT,))]
    progress = measure(replace(WEB, spec=spec), tasks, {"n": "host"})
    assert (progress.running, progress.outdated) == (1, 1)


EVENTS = st.tuples(
    st.sampled_from([at(state, "why") for state in UpdateState]),
    st.sampled_from([DONE, HALF, STUCK, Progress(1, 2, outdated=1)]),
    st.floats(0, 40),
)


@given(st.sampled_from(UpdateState), st.booleans(), st.lists(EVENTS, max_size=10))
def test_every_wait_ends_once_events_do(first, settled, events):
    wait, now = Convergence(at(first), settled, started=0.0), 0.0
    for service, progress, step in events:
        now += step
        wait.handle(service, progress, now)
        wait.check()
    while wait.phase < Phase.CONVERGED:
        assert now < wait.deadline() < now + 300
        now = wait.deadline()
        wait.tick(now)
        wait.check()
    assert (wait.outcome == Outcome.CONVERGED) == (wait.phase == Phase.CONVERGED)
