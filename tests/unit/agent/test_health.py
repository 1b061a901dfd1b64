from agent.health import HealthMachine, Probe, Probed, Started, Tick, Verdict, is_check, probe_argv
from pyswarm.core import NEVER
from pyswarm.model import Healthcheck

CHECK = Healthcheck(test=("CMD", "true"), interval_seconds=10, timeout_seconds=2, retries=2)


def test_a_success_in_the_first_second_makes_it_healthy():
    machine = HealthMachine(CHECK)
    machine.handle(Started(), 0.0)
    assert machine.deadline() == 1.0
    assert machine.handle(Tick(), 1.0) == [Probe(("true",), 2)]
    assert machine.deadline() == NEVER
    assert machine.handle(Probed(True), 1.1) == [Verdict(True)]
    assert machine.deadline() == 11.1


def test_early_failures_do_not_count_and_later_ones_do():
    machine, now, verdicts = HealthMachine(CHECK), 0.0, []
    machine.handle(Started(), now)
    while not verdicts:
        now = machine.deadline()
        machine.handle(Tick(), now)
        verdicts = machine.handle(Probed(False, "refused"), now)
        machine.check()
    assert now == 20.0
    assert verdicts == [Verdict(False, "refused")]
    assert machine.deadline() == NEVER


def test_a_success_between_failures_starts_the_count_again():
    machine = HealthMachine(CHECK, healthy=True)
    machine.handle(Started(), 0.0)
    assert machine.deadline() == 10.0
    for passed in (False, True, False):
        assert machine.handle(Probed(passed), 20.0) == []
    assert machine.handle(Probed(False), 30.0) == [Verdict(False)]


def test_failures_of_the_start_period_do_not_count():
    check = Healthcheck(test=("CMD", "x"), interval_seconds=1, start_period_seconds=60, retries=1)
    machine = HealthMachine(check)
    machine.handle(Started(), 0.0)
    assert machine.handle(Probed(False), 59.0) == []
    assert machine.handle(Probed(False), 61.0) == [Verdict(False)]


def test_what_is_run_follows_dockers_words():
    assert probe_argv(("CMD", "a", "b")) == ("a", "b")
    assert probe_argv(("CMD-SHELL", "a || b")) == ("/bin/sh", "-c", "a || b")
    assert not is_check(Healthcheck(test=("NONE",)))
    assert not is_check(None)
