"""Waiting for jobs, and for services whose tasks end: the wait is over, and says how it ended."""

from dataclasses import replace

import pytest

from pyswarm.cli.job_progress import wait_for
from pyswarm.cli.outcomes import Outcome
from pyswarm.cli.progress import ENDS_MAX, Phase, measure, service_lines, stack_lines
from pyswarm.model import (
    JobState,
    JobStatus,
    Meta,
    RestartCondition,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
    UpdateState,
    UpdateStatus,
)

NODES = {"n1": "host1", "n2": "host2"}
BAR = "[" + "=" * 39 + ">]"


def service(mode, condition, *, replicas=3, **changes):
    policy = RestartPolicy(condition=condition, max_attempts=changes.pop("attempts", 0))
    return Service(
        id="s",
        spec=ServiceSpec(
            name="work",
            mode=mode,
            replicas=replicas,
            max_concurrent=changes.pop("most", 0),
            task=TaskSpec(restart=policy),
        ),
        spec_version=2,
        **changes,
    )


def job(mode=ServiceMode.REPLICATED_JOB, state=JobState.ACTIVE, message="", **changes):
    status = JobStatus(iteration=1, state=state, message=message)
    return service(mode, RestartCondition.ON_FAILURE, job_status=status, **changes)


def task(slot, state, desired=TaskState.COMPLETE, *, at=0.0, error="", **changes):
    fields = {"node_id": "n1", "job_iteration": 1, "spec_version": 2} | changes
    return Task(
        id=f"t{slot}{at}",
        service_id="s",
        meta=Meta(created_at=at),
        slot=slot,
        desired_state=desired,
        status=TaskStatus(state=state, error=error, message="started"),
        **fields,
    )


def seen(found, tasks, *, since=None, now=0.0):
    wait = wait_for(since or found)
    wait.handle(found, measure(found, tasks, NODES), now)
    wait.check()
    return wait


def test_a_job_shows_what_has_completed_and_what_is_at_work():
    tasks = [
        task(1, TaskState.COMPLETE),
        task(2, TaskState.RUNNING),
        task(1, TaskState.COMPLETE, TaskState.SHUTDOWN, spec_version=1, job_iteration=0),
    ]
    wait = seen(job(most=2), tasks)
    assert wait.phase == Phase.WORKING
    assert service_lines(wait) == [
        "job progress: 1 out of 3 complete",
        "active tasks: 1 out of 2 tasks",
        f"1/3: complete  {BAR}",
        f"2/3: running   {BAR}",
        "3/3:",
    ]
    assert stack_lines([wait]) == ["work  1/3 completed"]


def test_a_job_is_over_when_the_managers_say_so_and_not_when_nothing_is_seen():
    everything = [task(slot, TaskState.COMPLETE) for slot in (1, 2, 3)]
    assert seen(job(), everything).phase == Phase.WORKING
    assert seen(job(ServiceMode.GLOBAL_JOB), []).phase == Phase.WORKING
    wait = seen(job(state=JobState.COMPLETED), everything)
    assert wait.phase == Phase.CONVERGED
    assert service_lines(wait)[-1] == "job complete"
    assert stack_lines([wait]) == ["work  3/3 completed  complete"]
    wait = seen(job(ServiceMode.GLOBAL_JOB, state=JobState.COMPLETED), [])
    assert service_lines(wait)[-1] == "job complete: no node fits it"


def test_how_long_a_task_of_a_job_runs_does_not_count_as_waiting():
    """Its end is seen before what the managers make of it: the next task, or the job's end."""
    hour = 3600.0
    found = job(replicas=2, most=1)
    wait = wait_for(found, started=0.0)
    done, second = task(1, TaskState.COMPLETE), task(2, TaskState.RUNNING)
    stages = [
        [task(1, TaskState.RUNNING)],
        [done],
        [done, second],
        [done, task(2, TaskState.FAILED, TaskState.SHUTDOWN, error="exit 1")],
        [done, replace(second, id="again")],
        [done, task(2, TaskState.COMPLETE)],
    ]
    for number, tasks in enumerate(stages):
        wait.handle(found, measure(found, tasks, NODES), number * hour)
        assert wait.phase == Phase.WORKING, (number, wait.problem)
    wait.handle(job(state=JobState.COMPLETED), measure(found, [], NODES), 6 * hour)
    assert wait.phase == Phase.CONVERGED


def test_a_job_whose_tasks_run_long_and_only_fail_is_not_waited_for_without_end():
    """Where the managers keep no history, either."""
    found = job(replicas=1)
    wait = wait_for(found, started=0.0)
    for number in range(2 * ENDS_MAX):
        state = TaskState.PENDING if number % 2 else TaskState.RUNNING
        assert wait.phase == Phase.WORKING, number
        wait.handle(found, measure(found, [task(1, state)], NODES), number * 3600.0)
    assert wait.phase == Phase.FAILED
    assert wait.outcome == Outcome.TIMED_OUT


def test_an_older_iteration_that_was_complete_is_not_this_one():
    older = replace(job(state=JobState.COMPLETED), spec_version=1)
    assert seen(older, [], since=job()).phase == Phase.WORKING


def test_a_job_that_has_failed_says_why():
    wait = seen(job(state=JobState.FAILED, message="task t1 did not complete: exit 1"), [])
    assert wait.phase == Phase.FAILED
    assert service_lines(wait)[-1] == "job failed: task t1 did not complete: exit 1"


def test_a_job_that_is_tried_again_without_end_is_not_waited_for_without_end():
    def tries(count):
        failed = [
            task(1, TaskState.FAILED, TaskState.SHUTDOWN, at=float(n), error="exit 1")
            for n in range(count)
        ]
        return [*failed, task(1, TaskState.PENDING, at=9.0)]

    assert seen(job(), tries(4)).phase == Phase.WORKING
    wait = seen(job(), tries(5))
    assert wait.phase == Phase.FAILED
    assert wait.verdict == (
        "job is failing: 1/3 has failed 5 times in a row: exit 1; the managers keep trying"
    )


def one_shot(condition=RestartCondition.NONE, **changes):
    return service(ServiceMode.REPLICATED, condition, **changes)


def ended(slot, state, error="", **changes):
    return task(slot, state, TaskState.SHUTDOWN, error=error, job_iteration=0, **changes)


@pytest.mark.parametrize("condition", [RestartCondition.NONE, RestartCondition.ON_FAILURE])
def test_a_service_whose_tasks_end_well_has_converged(condition):
    found = one_shot(condition)
    tasks = [ended(slot, TaskState.COMPLETE) for slot in (1, 2)]
    assert seen(found, tasks).phase == Phase.WORKING
    wait = seen(found, [*tasks, ended(3, TaskState.COMPLETE)])
    assert wait.phase == Phase.CONVERGED
    assert service_lines(wait)[-1] == "verify: Service work converged, 3 of 3 tasks completed"


def test_what_still_runs_beside_what_has_ended_is_verified():
    running = task(3, TaskState.RUNNING, TaskState.RUNNING, job_iteration=0)
    tasks = [*(ended(slot, TaskState.COMPLETE) for slot in (1, 2)), running]
    assert seen(one_shot(), tasks).phase == Phase.VERIFYING


def test_a_task_that_failed_and_is_not_restarted_fails_the_wait():
    wait = seen(one_shot(), [ended(2, TaskState.FAILED, "exit 3")])
    assert wait.phase == Phase.FAILED
    assert wait.verdict == "task 2/3 has ended and is not restarted: exit 3"


def test_attempts_are_counted_as_the_managers_count_them():
    found = one_shot(RestartCondition.ON_FAILURE, attempts=1)
    first = ended(1, TaskState.FAILED, "exit 1", at=1.0)
    assert seen(found, [first]).phase == Phase.WORKING
    assert seen(found, [first, ended(1, TaskState.FAILED, at=2.0)]).phase == Phase.FAILED


def test_a_service_that_always_restarts_is_not_finished_by_a_task_that_ends():
    found = one_shot(RestartCondition.ANY, replicas=1)
    assert seen(found, [ended(1, TaskState.COMPLETE)]).phase == Phase.WORKING


def test_a_service_that_keeps_failing_fails_the_wait_unless_it_runs_at_last():
    found = one_shot(RestartCondition.ANY, replicas=1)
    failed = [ended(1, TaskState.FAILED, "exit 1", at=float(n)) for n in range(5)]

    def last(state):
        return task(1, state, TaskState.RUNNING, at=9.0, job_iteration=0, quick_ends=5)

    assert seen(found, [*failed, last(TaskState.PREPARING)]).phase == Phase.FAILED
    assert seen(found, [*failed, last(TaskState.RUNNING)]).phase == Phase.VERIFYING


def test_what_a_node_rejects_again_and_again_is_not_tried_five_times():
    found = one_shot(RestartCondition.ANY, replicas=1)

    def tries(*ends):
        last = task(1, TaskState.NEW, TaskState.RUNNING, at=9.0, job_iteration=0, quick_ends=2)
        return seen(found, [*(replace(e, id=f"t{n}") for n, e in enumerate(ends)), last])

    rejected = ended(1, TaskState.REJECTED, 'no group "x"')
    assert tries(rejected).phase == Phase.WORKING
    wait = tries(rejected, rejected)
    assert wait.phase == Phase.FAILED
    assert wait.verdict == (
        '1/1 was rejected 2 times in a row by host1: no group "x"; the managers keep trying'
    )
    # Another node, another reason, or a task that did start: the next try may be better.
    elsewhere = replace(rejected, node_id="n2")
    unlike = ended(1, TaskState.REJECTED, "the registry does not answer")
    for other in (elsewhere, unlike, ended(1, TaskState.FAILED, 'no group "x"')):
        assert tries(rejected, other).phase == Phase.WORKING


def test_a_service_whose_tasks_always_end_well_and_start_again_is_not_waited_for_either():
    found = one_shot(RestartCondition.ANY, replicas=1)
    tasks = [
        ended(1, TaskState.COMPLETE),
        task(1, TaskState.PENDING, TaskState.RUNNING, at=9.0, job_iteration=0, quick_ends=5),
    ]
    wait = seen(found, tasks)
    assert wait.verdict == "1/1 has ended 5 times in a row; the managers keep trying"


def test_during_an_update_the_managers_judge():
    old = one_shot()
    status = UpdateStatus(state=UpdateState.UPDATING, started_at=1.0)
    updating = replace(old, update_status=status)
    assert seen(updating, [ended(1, TaskState.FAILED)], since=old).phase == Phase.WORKING
