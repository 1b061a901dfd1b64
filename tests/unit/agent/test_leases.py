"""When a node without a manager must stop what it runs."""

from agent.leases import PROBES, Leases
from pyswarm.core import NEVER
from pyswarm.model import Task, TaskSpec


def task(task_id, seconds):
    return Task(id=task_id, spec=TaskSpec(stop_after_seconds=seconds))


def test_what_has_no_lease_is_kept_for_ever():
    leases = Leases(0.0)
    leases.take(task("a", 0.0))
    assert leases.over(1e9) == {}
    assert leases.deadline() == leases.probe_seconds == NEVER


def test_a_lease_lasts_from_the_last_contact():
    leases = Leases(100.0)
    leases.take(task("a", 30.0))
    assert leases.deadline() == 130.0
    leases.contact(110.0)
    assert leases.over(139.9) == {}
    assert leases.over(140.0) == {"a": 30.0}


def test_an_answer_that_comes_late_counts_from_when_it_was_asked_for():
    leases = Leases(100.0)
    leases.take(task("a", 30.0))
    leases.contact(120.0)
    leases.contact(110.0)
    assert leases.deadline() == 150.0


def test_each_task_has_its_own_length_and_the_shortest_says_how_often_to_ask():
    leases = Leases(0.0)
    leases.take(task("a", 60.0))
    leases.take(task("b", 20.0))
    assert leases.probe_seconds == 20.0 / PROBES
    assert leases.over(25.0) == {"b": 20.0}
    leases.drop("b")
    assert leases.over(25.0) == {}
    assert leases.probe_seconds == 60.0 / PROBES


def test_the_arrival_of_a_task_is_a_contact_for_this_task_only():
    leases = Leases(0.0)
    leases.take(task("old", 60.0))
    leases.take(task("new", 10.0), since=50.0)
    assert leases.over(59.0) == {}
    assert leases.over(60.0) == {"new": 10.0, "old": 60.0}
