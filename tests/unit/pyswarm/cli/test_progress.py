"""Waiting for a service: events in, phase and lines out."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pyswarm.cli.progress import (
    Convergence,
    Phase,
    Progress,
    SlotProgress,
    measure,
    new_lines,
    repaint,
    service_lines,
    stack_lines,
)
from pyswarm.model import (
    Meta,
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

NODES = {"n1": "host1", "n2": "host2"}
WEB = Service(id="s", spec=ServiceSpec(name="web", replicas=3), spec_version=5)
DONE = Progress(3, 3)
HALF = Progress(1, 3)


def task(slot, state=TaskState.RUNNING, *, at=0.0, error="", desired=TaskState.RUNNING, **changes):
    fields = {"service_id": "s", "spec_version": 5, "node_id": "n1"} | changes
    return Task(
        id=f"t{slot}{at}",
        meta=Meta(created_at=at),
        slot=slot,
        desired_state=desired,
        status=TaskStatus(state=state, error=error),
        **fields,
    )


def test_only_tasks_of_the_newest_specification_on_nodes_that_are_up_count():
    progress = measure(
        WEB,
        [
            task(1),
            task(2, spec_version=4, spec=TaskSpec(force_update=1)),
            task(3, node_id="gone"),
            task(1, service_id="other"),
        ],
        NODES,
    )
    assert (progress.running, progress.wanted) == (1, 3)
    assert progress.slots == (
        SlotProgress("1/3", TaskState.RUNNING),
        SlotProgress("2/3"),
        SlotProgress("3/3", None, "node gone is not up"),
    )


def test_a_new_attempt_still_shows_what_the_last_one_died_of():
    tasks = [
        task(1, TaskState.FAILED, at=1.0, error="exit 1", desired=TaskState.SHUTDOWN),
        task(1, TaskState.READY, at=2.0, desired=TaskState.READY),
    ]
    slot = measure(WEB, tasks, NODES).slots[0]
    assert slot == SlotProgress("1/3", TaskState.READY, "exit 1")


def test_scaling_down_counts_the_slots_that_stay():
    web = replace(WEB, spec=replace(WEB.spec, replicas=1))
    tasks = [task(1, desired=TaskState.SHUTDOWN), task(2)]
    progress = measure(web, tasks, NODES)
    assert progress.slots == (SlotProgress("1/1", TaskState.RUNNING),)


def test_slots_that_are_not_the_first_ones_keep_their_places_through_an_update():
    web = replace(WEB, spec=replace(WEB.spec, replicas=2))
    old = {"spec_version": 4, "spec": TaskSpec(force_update=1)}
    begun = measure(web, [task(2, **old), task(3, **old)], NODES)
    assert begun.slots == (SlotProgress("1/2"), SlotProgress("2/2"))
    half = measure(web, [task(2, **old), task(3)], NODES)
    assert half.slots == (SlotProgress("1/2"), SlotProgress("2/2", TaskState.RUNNING))


def test_a_global_service_counts_the_nodes_that_have_a_task():
    web = replace(WEB, spec=replace(WEB.spec, mode=ServiceMode.GLOBAL))
    tasks = [
        task(0, node_id="n2", at=1.0),
        task(0, TaskState.PENDING, node_id="n1", at=2.0),
        task(0, node_id="gone"),
    ]
    progress = measure(web, tasks, NODES)
    assert progress.slots == (
        SlotProgress("host1", TaskState.PENDING),
        SlotProgress("host2", TaskState.RUNNING),
    )
    drained = [task(0, TaskState.SHUTDOWN, desired=TaskState.SHUTDOWN)]
    assert measure(web, drained, NODES) == Progress(0, 0)
    failed = [task(0, TaskState.FAILED, desired=TaskState.SHUTDOWN, error="x")]
    assert measure(web, failed, NODES).slots == (SlotProgress("host1", None, "x"),)


def test_a_global_service_has_not_converged_before_its_tasks_are_made():
    spec = replace(WEB.spec, mode=ServiceMode.GLOBAL, update=UpdateConfig(monitor_seconds=0.0))
    web = replace(WEB, spec=spec)
    wait = Convergence(web)
    wait.handle(web, Progress(0, 0), now=10.0)
    assert wait.phase == Phase.VERIFYING
    wait.handle(web, HALF, now=10.1)
    assert wait.phase == Phase.WORKING
    wait.handle(web, DONE, now=11.0)
    assert wait.phase == Phase.CONVERGED


def test_a_service_converges_when_it_has_run_for_the_monitor_period():
    wait = Convergence(WEB)
    wait.handle(WEB, HALF, now=10.0)
    assert wait.phase == Phase.WORKING
    wait.handle(WEB, DONE, now=11.0)
    assert (wait.phase, wait.deadline()) == (Phase.VERIFYING, 16.0)
    wait.handle(WEB, DONE, now=12.0)
    wait.tick(now=15.9)
    assert wait.phase == Phase.VERIFYING
    wait.tick(now=16.0)
    assert wait.phase == Phase.CONVERGED


def test_a_task_that_fails_starts_the_verification_again():
    wait = Convergence(WEB)
    wait.handle(WEB, DONE, now=0.0)
    wait.handle(WEB, HALF, now=4.0)
    assert wait.phase == Phase.WORKING
    wait.handle(WEB, DONE, now=5.0)
    assert wait.deadline() == 10.0


def with_update(state, message="", started_at=1.0):
    status = UpdateStatus(state=state, message=message, started_at=started_at)
    return replace(WEB, update_status=status)


def test_an_update_is_over_when_the_managers_say_so():
    wait = Convergence(with_update(UpdateState.UPDATING))
    wait.handle(with_update(UpdateState.UPDATING), DONE, now=0.0)
    assert wait.phase == Phase.WORKING
    wait.handle(with_update(UpdateState.COMPLETED), DONE, now=1.0)
    assert wait.phase == Phase.CONVERGED


def test_a_paused_update_fails_with_its_reason():
    wait = Convergence(WEB)
    wait.handle(with_update(UpdateState.PAUSED, "task x failed"), HALF, now=0.0)
    assert (wait.phase, wait.verdict) == (Phase.FAILED, "service update paused: task x failed")
    wait.handle(WEB, DONE, now=1.0)
    assert wait.phase == Phase.FAILED


def test_an_older_update_neither_ends_nor_fails_a_wait():
    for state in (UpdateState.PAUSED, UpdateState.COMPLETED):
        wait = Convergence(with_update(state))
        wait.handle(with_update(state), DONE, now=0.0)
        assert wait.phase == Phase.VERIFYING


EVENTS = st.tuples(
    st.sampled_from([WEB, *(with_update(state) for state in UpdateState)]),
    st.sampled_from([DONE, HALF, Progress(0, 0)]),
    st.floats(0, 10),
)


@given(st.lists(EVENTS, max_size=12))
def test_the_invariants_hold_after_every_event(events):
    wait, now = Convergence(WEB), 0.0
    for service, progress, step in events:
        before = wait.phase
        now += step
        wait.handle(service, progress, now)
        wait.check()
        assert before < Phase.CONVERGED or wait.phase == before
        assert service_lines(wait)
        assert stack_lines([wait])


def test_the_lines_of_one_service():
    wait = Convergence(WEB)
    slots = (
        SlotProgress("1/3", TaskState.RUNNING),
        SlotProgress("2/3", TaskState.PENDING, "no suitable node"),
        SlotProgress("3/3", TaskState.ACCEPTED),
    )
    wait.handle(WEB, Progress(1, 3, slots), now=0.0)
    assert service_lines(wait) == [
        "overall progress: 1 out of 3 tasks",
        "1/3: running   [" + "=" * 39 + ">]",
        "2/3: pending   no suitable node",
        "3/3: accepted  [" + "=" * 19 + ">" + " " * 20 + "]",
    ]
    wait.handle(WEB, DONE, now=0.0)
    assert service_lines(wait) == [
        "overall progress: 3 out of 3 tasks",
        "verify: Waiting 5 seconds to verify that tasks are stable...",
    ]
    wait.tick(now=5.0)
    assert service_lines(wait)[-1] == "verify: Service web converged"


def test_many_slots_are_not_shown_one_by_one():
    web = replace(WEB, spec=replace(WEB.spec, replicas=10_000))
    wait = Convergence(web)
    wait.handle(web, measure(web, [], NODES), now=0.0)
    assert service_lines(wait) == ["overall progress: 0 out of 10000 tasks"]


def test_the_lines_of_a_stack():
    api = replace(WEB, id="a", spec=replace(WEB.spec, name="shop_api"))
    one, two, three = Convergence(WEB), Convergence(api), Convergence(WEB)
    one.handle(WEB, DONE, now=0.0)
    two.handle(api, Progress(0, 3, (SlotProgress("1/3", None, "no\x1b such image"),)), now=0.0)
    three.handle(with_update(UpdateState.PAUSED, "why"), HALF, now=0.0)
    assert stack_lines([one, two, three]) == [
        "shop_api  0/3  no\N{REPLACEMENT CHARACTER} such image",
        "web       3/3  verifying",
        "web       1/3  service update paused: why",
    ]


def test_a_terminal_is_painted_over_and_lines_never_wrap():
    assert repaint(0, ["ab"], 80) == "\r\x1b[2Kab\n\x1b[J"
    assert repaint(2, ["abcdef"], 4) == "\x1b[2A\r\x1b[2Kabc\n\x1b[J"


def test_a_log_gets_what_is_new_and_no_bars():
    old = ["overall progress: 0 out of 1 tasks", "1/1: pending   [==>   ]"]
    lines = ["overall progress: 0 out of 1 tasks", "1/1: running   [=====>]"]
    assert new_lines(old, lines) == ["1/1: running"]
    assert new_lines([], lines) == ["overall progress: 0 out of 1 tasks", "1/1: running"]
