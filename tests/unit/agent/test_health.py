from itertools import pairwise

from agent.health import (
    EARLY_NEWS_SECONDS,
    OUTPUT_CHARACTERS_MAX,
    RESULTS_MAX,
    HealthMachine,
    Probe,
    Probed,
    Started,
    Tick,
    is_check,
    merged,
    probe_argv,
    unhealthy_error,
)
from pyswarm.core import NEVER
from pyswarm.model import Healthcheck, HealthResult, HealthState, TaskHealth

CHECK = Healthcheck(test=("CMD", "true"), interval_seconds=10, timeout_seconds=2, retries=2)
HEALTHY = TaskHealth(state=HealthState.HEALTHY)


def passed(output=""):
    return Probed(HealthResult(output=output))


def failed(output="", code=1):
    return Probed(HealthResult(exit_code=code, output=output))


def said(answers):
    """The states that are told, as words."""
    return [a.state.name.lower() for a in answers if isinstance(a, TaskHealth)]


def test_a_success_in_the_first_second_makes_it_healthy():
    machine = HealthMachine(CHECK)
    machine.handle(Started(), 0.0)
    assert machine.deadline() == 1.0
    assert machine.handle(Tick(), 1.0) == [Probe(("true",), 2)]
    assert machine.deadline() == NEVER
    assert said(machine.handle(passed("ok"), 1.1)) == ["healthy"]
    assert machine.health.log[-1].output == "ok"
    assert machine.deadline() == 11.1


def test_early_failures_do_not_count_and_later_ones_do():
    machine, now, told = HealthMachine(CHECK), 0.0, []
    machine.handle(Started(), now)
    while machine.deadline() != NEVER:
        now = machine.deadline()
        machine.handle(Tick(), now)
        told += said(machine.handle(failed("refused"), now))
        machine.check()
    assert now == 20.0
    assert told[-2:] == ["starting", "unhealthy"]
    assert machine.health.failing_streak == 2
    assert unhealthy_error(137, machine.health) == (
        "task: non-zero exit (137): unhealthy container: refused"
    )


def test_what_a_starting_container_says_is_told_now_and_then():
    check = Healthcheck(test=("CMD", "x"), start_period_seconds=60)
    machine = HealthMachine(check)
    machine.handle(Started(), 0.0)
    told = [now for now in range(1, 60) if said(machine.handle(failed(), float(now)))]
    assert told[0] == 1
    assert all(b - a >= EARLY_NEWS_SECONDS for a, b in pairwise(told))


def test_a_start_interval_takes_the_place_of_our_second():
    check = Healthcheck(test=("CMD", "x"), start_period_seconds=60, start_interval_seconds=4)
    machine = HealthMachine(check)
    machine.handle(Started(), 0.0)
    assert machine.deadline() == 4.0
    machine.handle(failed(), 5.0)
    assert machine.deadline() == 9.0
    machine.handle(passed(), 10.0)
    assert machine.deadline() == 40.0, "a healthy one is asked at Docker's interval"


def test_a_success_between_failures_starts_the_count_again_and_both_are_told():
    machine = HealthMachine(CHECK, HEALTHY)
    machine.handle(Started(), 0.0)
    assert machine.deadline() == 10.0
    assert said(machine.handle(failed(), 20.0)) == ["healthy"]
    assert said(machine.handle(passed(), 30.0)) == ["healthy"]
    assert said(machine.handle(passed(), 40.0)) == [], "nothing is new"
    machine.handle(failed(), 50.0)
    assert said(machine.handle(failed(), 60.0)) == ["unhealthy"]


def test_an_adopted_container_goes_on_with_the_failures_that_were_counted():
    machine = HealthMachine(CHECK, TaskHealth(state=HealthState.HEALTHY, failing_streak=1))
    machine.handle(Started(), 0.0)
    assert said(machine.handle(failed(), 10.0)) == ["unhealthy"]


def test_an_adopted_container_that_was_being_stopped_since_it_is_unhealthy_is_stopped():
    machine = HealthMachine(CHECK, TaskHealth(state=HealthState.UNHEALTHY))
    assert said(machine.handle(Started(), 0.0)) == ["unhealthy"]
    assert machine.deadline() == NEVER


def test_failures_of_the_start_period_do_not_count():
    check = Healthcheck(test=("CMD", "x"), interval_seconds=1, start_period_seconds=60, retries=1)
    machine = HealthMachine(check)
    machine.handle(Started(), 0.0)
    assert said(machine.handle(failed(), 59.0)) == ["starting"]
    assert said(machine.handle(failed(), 61.0)) == ["unhealthy"]


def test_the_last_results_are_kept_and_each_is_cut():
    machine = HealthMachine(CHECK, HEALTHY)
    for number in range(9):
        machine.handle(passed(f"{number}" * 9999), float(number))
    assert [r.output[0] for r in machine.health.log] == list("45678")
    assert len(machine.health.log) == RESULTS_MAX
    assert {len(r.output) for r in machine.health.log} == {OUTPUT_CHARACTERS_MAX}


def test_the_service_goes_before_the_image_field_by_field():
    image = Healthcheck(test=("CMD", "probe"), interval_seconds=7, retries=4)
    assert merged(None, image) == image
    assert merged(Healthcheck(retries=1, timeout_seconds=3), image) == Healthcheck(
        test=("CMD", "probe"), interval_seconds=7, timeout_seconds=3, retries=1
    )
    off = merged(Healthcheck(test=("NONE",)), image)
    assert not is_check(off)
    assert not is_check(merged(Healthcheck(retries=1), None)), "nobody says what to run"
    assert not is_check(None)


def test_what_is_run_follows_dockers_words():
    assert probe_argv(("CMD", "a", "b")) == ("a", "b")
    assert probe_argv(("CMD-SHELL", "a || b")) == ("/bin/sh", "-c", "a || b")


def test_the_error_is_one_line():
    log = (HealthResult(output="a\n\n b\n"),)
    assert unhealthy_error(0, TaskHealth(log=log)).endswith("(0): unhealthy container: a b")
    assert unhealthy_error(143, TaskHealth()) == "task: non-zero exit (143): unhealthy container"
