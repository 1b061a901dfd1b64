"""Dialogues with the task machine: event in, commands out."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.task import (
    DRAIN_SECONDS,
    KILL_AGAIN_SECONDS,
    TRIES_MAX,
    UNHEALTHY_DRAIN_SECONDS,
    Phase,
    TaskMachine,
)
from agent.task_events import (
    Begin,
    Cancel,
    Checked,
    Clean,
    Cleaned,
    DependenciesReady,
    Drain,
    Exited,
    Failed,
    Found,
    Kill,
    LeaseOver,
    Prepare,
    Prepared,
    Remove,
    Removed,
    Report,
    Start,
    Started,
    Step,
    Stop,
    Tick,
    Unassigned,
    Updated,
    Watch,
)
from pyswarm.core import NEVER
from pyswarm.model import (
    ContainerSpec,
    HealthResult,
    HealthState,
    NetworkAttachment,
    PortConfig,
    PublishMode,
    RestartPolicy,
    Task,
    TaskHealth,
    TaskSpec,
    TaskState,
    TaskStatus,
    is_terminal,
)

TASK = Task(
    id="t" * 25,
    service_name="web",
    slot=1,
    spec=TaskSpec(container=ContainerSpec(image="web", stop_signal="SIGQUIT")),
    status=TaskStatus(state=TaskState.ASSIGNED),
)


STARTING = TaskHealth(state=HealthState.STARTING)
HEALTHY = TaskHealth(state=HealthState.HEALTHY)
UNHEALTHY = TaskHealth(state=HealthState.UNHEALTHY, log=(HealthResult(output="refused"),))


class Story:
    """A machine whose answers are words: commands by name, reports by their state."""

    def __init__(self, task=TASK, ready=True):
        self.machine = TaskMachine(task, ready)

    def tell(self, event, now=0.0):
        commands = self.machine.handle(event, now)
        self.machine.check()
        return [
            c.status.state.name if isinstance(c, Report) else type(c).__name__.lower()
            for c in commands
        ]

    def run_up(self):
        self.tell(Begin())
        self.tell(Prepared())
        return self.tell(Started("c", 7))

    @property
    def status(self):
        return self.machine.status


def wish(desired, **changes):
    return Updated(replace(TASK, desired_state=desired, **changes))


def test_a_task_walks_from_accepted_to_complete():
    story = Story()
    assert story.tell(Begin()) == ["ACCEPTED", "PREPARING", "prepare"]
    assert story.tell(Prepared()) == ["READY", "STARTING", "start"]
    assert story.tell(Started("c1", 42)) == ["RUNNING"]
    assert (story.status.container_id, story.status.pid) == ("c1", 42)
    assert story.tell(Exited(0)) == ["COMPLETE", "clean"]
    assert story.tell(Cleaned()) == []
    assert story.tell(Unassigned()) == ["remove"]
    assert story.tell(Removed()) == []
    assert story.machine.phase is Phase.GONE


def test_a_non_zero_exit_is_failed_with_its_code():
    story = Story()
    story.run_up()
    assert story.tell(Exited(3)) == ["FAILED", "clean"]
    assert story.status.error == "task: non-zero exit (3)"
    assert story.status.exit_code == 3


def test_a_task_waits_for_its_dependencies():
    story = Story(ready=False)
    assert story.tell(Begin()) == ["ACCEPTED"]
    assert story.tell(DependenciesReady()) == ["PREPARING", "prepare"]


def test_a_task_is_prepared_but_not_started_before_its_time():
    task = replace(TASK, start_after=103.0, spec=TaskSpec(restart=RestartPolicy(delay_seconds=5)))
    story = Story(task)
    story.tell(Begin(), now=100.0)
    assert story.tell(Prepared(), now=101.0) == ["READY"]
    assert story.machine.deadline() == 103.0
    assert story.tell(Tick(), now=103.0) == ["STARTING", "start"]


def test_a_manager_whose_clock_is_ahead_delays_no_longer_than_the_policy():
    task = replace(TASK, start_after=9000.0, spec=TaskSpec(restart=RestartPolicy(delay_seconds=5)))
    story = Story(task)
    story.tell(Begin(), now=100.0)
    story.tell(Prepared(), now=101.0)
    assert story.machine.deadline() == 105.0


def test_a_task_that_shall_only_be_ready_is_not_started():
    story = Story(replace(TASK, desired_state=TaskState.READY))
    story.tell(Begin())
    assert story.tell(Prepared()) == ["READY"]
    assert story.machine.deadline() == NEVER
    assert story.tell(wish(TaskState.RUNNING)) == ["STARTING", "start"]


def test_shutdown_sends_the_stop_signal_then_kills_after_the_grace():
    story = Story()
    story.run_up()
    commands = story.machine.handle(wish(TaskState.SHUTDOWN), 50.0)
    assert commands == [Stop("SIGQUIT")]
    assert story.machine.deadline() == 60.0
    assert story.tell(Tick(), now=59.9) == []
    assert story.tell(Tick(), now=60.0) == ["kill"]
    assert story.tell(Tick(), now=60.0 + KILL_AGAIN_SECONDS) == ["kill"]
    assert story.tell(Exited(137), now=71.0) == ["SHUTDOWN", "clean"]
    assert story.status.error == ""


def test_a_task_in_a_network_drains_before_the_signal():
    task = replace(TASK, networks=(NetworkAttachment(network_id="n", address="10.0.0.2/24"),))
    story = Story(task)
    story.run_up()
    assert story.tell(wish(TaskState.SHUTDOWN, networks=task.networks), now=10.0) == []
    assert story.machine.deadline() == 10.0 + DRAIN_SECONDS
    assert story.tell(Tick(), now=11.0) == ["stop"]


def test_a_task_with_ports_of_its_host_closes_them_before_the_signal():
    ports = (PortConfig(published_port=80, target_port=80, publish_mode=PublishMode.HOST),)
    story = Story(replace(TASK, ports=ports))
    story.run_up()
    assert story.tell(wish(TaskState.SHUTDOWN, ports=ports), now=10.0) == ["drain"]
    assert story.machine.deadline() == 10.0 + DRAIN_SECONDS
    assert story.tell(Failed(Step.DRAIN, "no", True), now=10.1) == []
    assert story.tell(Tick(), now=11.0) == ["stop"]


def test_shutdown_during_the_pull_cancels_it():
    story = Story()
    story.tell(Begin())
    assert story.tell(wish(TaskState.SHUTDOWN)) == ["cancel", "SHUTDOWN", "clean"]
    assert story.tell(Prepared()) == []


def test_shutdown_during_the_start_stops_after_it():
    story = Story()
    story.tell(Begin())
    story.tell(Prepared())
    assert story.tell(wish(TaskState.SHUTDOWN)) == []
    assert story.tell(Started("c", 7)) == ["RUNNING", "stop"]


def test_a_task_that_is_forgotten_while_it_runs_is_stopped_and_removed():
    story = Story()
    story.run_up()
    assert story.tell(Unassigned()) == ["stop"]
    assert story.tell(Exited(143)) == ["SHUTDOWN", "clean"]
    assert story.tell(Cleaned()) == ["remove"]


def test_the_desired_state_never_goes_back():
    story = Story()
    story.run_up()
    story.tell(wish(TaskState.SHUTDOWN))
    assert story.tell(wish(TaskState.RUNNING)) == []
    assert not story.machine.wanted


def test_a_fatal_failure_before_the_start_is_rejected():
    story = Story()
    story.tell(Begin())
    assert story.tell(Failed(Step.PREPARE, "no such image", False)) == ["REJECTED", "clean"]
    assert story.status.error == "no such image"


def test_a_fatal_failure_of_the_start_is_failed():
    story = Story()
    story.tell(Begin())
    story.tell(Prepared())
    assert story.tell(Failed(Step.START, "no such program", False)) == ["FAILED", "clean"]


def test_a_temporary_failure_is_tried_again_with_growing_delays():
    story, now, delays = Story(), 0.0, []
    story.tell(Begin())
    for _ in range(TRIES_MAX - 1):
        assert story.tell(Failed(Step.PREPARE, "registry away", True), now) == ["PREPARING"]
        assert story.status.error == "registry away"
        delays.append(story.machine.deadline() - now)
        now = story.machine.deadline()
        assert story.tell(Tick(), now) == ["PREPARING", "prepare"]
    assert delays == [1, 2, 4, 8, 8, 8, 8]
    assert story.tell(Failed(Step.PREPARE, "registry away", True), now) == ["REJECTED", "clean"]


def test_news_do_not_shorten_the_delay_of_a_retry():
    story = Story()
    story.tell(Begin())
    story.tell(Prepared())
    story.tell(Failed(Step.START, "busy", True), now=5.0)
    assert story.tell(wish(TaskState.RUNNING), now=5.5) == []
    assert story.machine.deadline() == 6.0
    assert story.tell(Tick(), now=6.0) == ["STARTING", "start"]


def test_cleaning_is_tried_for_ever():
    story, now = Story(), 0.0
    story.run_up()
    story.tell(Exited(0))
    for _ in range(20):
        assert story.tell(Failed(Step.CLEAN, "containerd is away", True), now) == []
        now = story.machine.deadline()
        assert story.tell(Tick(), now) == ["clean"]


def test_a_task_with_a_healthcheck_runs_once_it_is_healthy():
    story = Story()
    story.tell(Begin())
    story.tell(Prepared())
    assert story.tell(Started("c", 7, has_healthcheck=True)) == ["STARTING"]
    assert story.tell(Checked(STARTING)) == ["STARTING"]
    assert story.tell(Checked(HEALTHY)) == ["RUNNING"]
    assert story.status.health == HEALTHY


def test_news_of_the_health_check_leave_the_time_since_which_the_task_runs():
    story = Story()
    story.run_up()
    assert story.tell(Checked(replace(HEALTHY, failing_streak=1)), now=99.0) == ["RUNNING"]
    assert (story.status.timestamp, story.status.health.failing_streak) == (0.0, 1)


def test_an_unhealthy_task_is_stopped_and_failed():
    story = Story()
    story.run_up()
    assert story.tell(Checked(UNHEALTHY)) == ["RUNNING", "stop"]
    assert story.tell(Exited(143)) == ["FAILED", "clean"]
    assert story.status.error == "task: non-zero exit (143): unhealthy container: refused"
    assert story.status.health == UNHEALTHY


def test_an_unhealthy_task_in_a_network_waits_until_the_others_have_heard():
    task = replace(TASK, networks=(NetworkAttachment(network_id="n", address="10.0.0.2/24"),))
    story = Story(task)
    story.run_up()
    assert story.tell(Checked(UNHEALTHY), now=10.0) == ["RUNNING"]
    assert story.machine.deadline() == 10.0 + UNHEALTHY_DRAIN_SECONDS
    assert story.tell(Tick(), now=12.0) == ["stop"]


@pytest.mark.parametrize("state", [TaskState.STARTING, TaskState.RUNNING])
def test_a_container_that_runs_is_adopted(state):
    story = Story(replace(TASK, status=TaskStatus(state=state)))
    assert story.machine.handle(Begin(Found("c9", 99)), 0.0) == [Watch()]
    expected = ["RUNNING"] if state == TaskState.STARTING else []
    assert story.tell(Started("c9", 99)) == expected
    assert story.status.state == TaskState.RUNNING


def test_a_look_that_fails_at_adoption_is_repeated_and_starts_nothing():
    story = Story(replace(TASK, status=TaskStatus(state=TaskState.RUNNING)))
    story.tell(Begin(Found("c9", 99)))
    assert story.tell(Failed(Step.START, "containerd is away", True), now=1.0) == []
    assert story.tell(Tick(), now=2.0) == ["watch"]
    assert story.tell(Started("c9", 99)) == []
    assert story.machine.phase is Phase.UP


def test_a_container_that_ended_meanwhile_is_reported():
    story = Story(replace(TASK, status=TaskStatus(state=TaskState.RUNNING)))
    assert story.tell(Begin(Found("c9", 0, exit_code=2))) == ["FAILED", "clean"]
    assert story.status.error == "task: non-zero exit (2)"


def test_a_container_that_vanished_is_failed():
    story = Story(replace(TASK, status=TaskStatus(state=TaskState.RUNNING)))
    assert story.tell(Begin()) == ["FAILED", "clean"]
    assert "gone" in story.status.error


def test_a_task_that_was_being_prepared_goes_on_after_a_restart():
    story = Story(replace(TASK, status=TaskStatus(state=TaskState.PREPARING)))
    assert story.tell(Begin()) == ["PREPARING", "PREPARING", "prepare"]


def test_a_task_that_ended_is_not_run_again():
    story = Story(replace(TASK, status=TaskStatus(state=TaskState.COMPLETE)))
    assert story.tell(Begin()) == []
    assert story.tell(DependenciesReady()) == []
    assert story.tell(Unassigned()) == ["remove"]


def test_the_container_of_a_task_that_ended_is_cleaned():
    story = Story(replace(TASK, status=TaskStatus(state=TaskState.FAILED)))
    assert story.tell(Begin(Found("c", 5))) == ["clean"]


EVENTS = st.sampled_from(
    [
        wish(TaskState.READY),
        wish(TaskState.RUNNING),
        wish(TaskState.SHUTDOWN),
        wish(TaskState.REMOVE),
        Unassigned(),
        DependenciesReady(),
        Prepared(),
        Started("c", 1),
        Started("c", 1, True),
        Checked(STARTING),
        Checked(HEALTHY),
        Checked(UNHEALTHY),
        Exited(0),
        Exited(1),
        Cleaned(),
        Removed(),
        Tick(),
        *(Failed(step, "e", temporary) for step in Step for temporary in (True, False)),
    ]
)
FOUND = st.sampled_from([None, Found("c", 1), Found("c", 0, 0), Found("c", 0, 1)])
STATES = st.sampled_from([s for s in TaskState if TaskState.ASSIGNED <= s < TaskState.REMOVE])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 20)), max_size=40), FOUND, STATES)
def test_whatever_happens_states_only_move_forward_and_an_end_is_final(events, found, state):
    machine = TaskMachine(replace(TASK, status=TaskStatus(state=state)))
    now, seen = 0.0, state
    commands = machine.handle(Begin(found), now)
    for event, wait in events:
        for command in commands:
            if isinstance(command, Report):
                assert command.status.state >= seen
                assert not (is_terminal(seen) and command.status.state != seen)
                seen = command.status.state
            if isinstance(command, Prepare | Start):
                assert not is_terminal(seen)
        machine.check()
        now += wait
        commands = machine.handle(event, now)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=25), st.booleans())
def test_after_any_story_a_forgotten_task_is_removed_by_a_willing_executor(events, ready):
    machine = TaskMachine(TASK, ready)
    pending = machine.handle(Begin(), 0.0)
    alive, now = False, 0.0

    def answer(command):
        nonlocal alive
        match command:
            case Prepare():
                return Prepared()
            case Start():
                alive = True
                return Started("c", 1)
            case Kill() | Stop():
                return Exited(0)
            case Clean():
                return Cleaned()
            case Remove():
                return Removed()
            case Cancel() | Report() | Watch() | Drain():
                return None

    for event in [*events, Unassigned()]:
        pending = machine.handle(event, now)
    for _ in range(40):
        now = max(now, machine.deadline() if machine.deadline() < NEVER else now)
        answers = [a for a in map(answer, pending) if a is not None]
        # The events above are arbitrary: a step may be in flight whose command was long ago.
        answers += [Prepared(), Started("c", 1), Exited(0), Cleaned(), Removed()]
        pending = [c for a in [*answers, Tick()] for c in machine.handle(a, now)]
        machine.check()
    assert machine.phase is Phase.GONE


# ---- leases ----

ALONE = LeaseOver("task: no contact with a manager for 30 s")


def test_a_task_whose_lease_is_over_is_stopped_at_once_and_has_failed():
    story = Story(
        replace(TASK, networks=(NetworkAttachment(network_id="n", address="10.0.0.2/24"),))
    )
    story.run_up()
    assert story.tell(ALONE) == ["stop"], "nobody is there who would take it out of its addresses"
    assert story.tell(Exited(0)) == ["FAILED", "clean"]
    assert (story.status.error, story.status.message) == (ALONE.reason, "stopped")


@pytest.mark.parametrize("events", [[], [Begin()], [Begin(), Prepared()]])
def test_a_task_whose_lease_is_over_does_not_start(events):
    story = Story(replace(TASK, desired_state=TaskState.READY))
    for event in events or [Begin()]:
        story.tell(event)
    assert story.tell(ALONE)[-2:] == ["FAILED", "clean"]


def test_a_start_that_was_under_way_when_the_lease_ended_is_followed_by_the_stop():
    story = Story()
    story.tell(Begin())
    story.tell(Prepared())
    assert story.tell(ALONE) == []
    assert story.tell(Started("c", 7)) == ["RUNNING", "stop"]


def test_a_task_that_stops_anyway_does_not_care_for_its_lease():
    story = Story()
    story.run_up()
    story.tell(Updated(replace(TASK, desired_state=TaskState.SHUTDOWN)))
    assert story.tell(ALONE) == []
    assert story.tell(Exited(0)) == ["SHUTDOWN", "clean"]
