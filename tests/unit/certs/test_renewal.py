"""When a certificate is renewed."""

from hypothesis import given
from hypothesis import strategies as st

from certs.renewal import Demanded, Failed, Installed, Renew, Renewal, Tick
from pyswarm.core import NEVER


def installed(draw=0.0, issued_at=0.0, ends_at=1000.0):
    machine = Renewal()
    assert machine.handle(Installed(issued_at, ends_at, draw), issued_at) == []
    machine.check()
    return machine


@given(st.floats(0, 1, exclude_max=True))
def test_the_hour_lies_between_half_and_four_fifths_of_the_life(draw):
    assert 500 <= installed(draw).deadline() <= 800


def test_it_asks_once_at_the_hour_and_waits_for_the_answer():
    machine = installed()
    assert machine.handle(Tick(), 499.9) == []
    assert machine.handle(Tick(), 500.0) == [Renew(expired=False)]
    assert machine.deadline() == NEVER
    assert machine.handle(Tick(), 501.0) == []
    assert machine.handle(Installed(501.0, 1501.0, 0.0), 501.0) == []
    assert machine.deadline() == 1001.0


def test_failures_are_repeated_ever_more_slowly_but_several_times_before_the_end():
    machine = installed()
    now, tries = 500.0, 0
    assert machine.handle(Tick(), now) == [Renew(expired=False)]
    waits = []
    while now < 1000.0:
        assert machine.handle(Failed(0.999), now) == []
        machine.check()
        waits.append(machine.deadline() - now)
        now = machine.deadline()
        assert machine.handle(Tick(), now) == [Renew(expired=now >= 1000.0)]
        tries += 1
    assert tries > 10
    assert waits[0] < 5 < waits[1] < 10 < waits[2]
    assert max(waits) <= 125


def test_after_the_end_it_asks_with_the_expired_certificate():
    assert installed().handle(Tick(), 1000.0) == [Renew(expired=True)]


def test_tries_after_the_end_are_at_most_an_hour_apart():
    machine = installed()
    machine.handle(Tick(), 2000.0)
    now = 2000.0
    for _ in range(40):
        machine.handle(Failed(0.5), now)
        assert 0 < machine.deadline() - now <= 3600
        now = machine.deadline()
        assert machine.handle(Tick(), now) == [Renew(expired=True)]


def test_a_certificate_that_had_expired_at_the_start_is_renewed_at_once():
    machine = Renewal()
    assert machine.handle(Installed(0.0, 1000.0, 0.5), 5000.0) == [Renew(expired=True)]


def test_a_demand_renews_now():
    assert installed().handle(Demanded(), 10.0) == [Renew(expired=False)]


def test_a_demand_while_asking_asks_again_since_the_answer_may_be_older():
    machine = installed()
    assert machine.handle(Demanded(), 10.0) == [Renew(expired=False)]
    assert machine.handle(Demanded(), 11.0) == []
    machine.check()
    assert machine.handle(Installed(12.0, 1012.0, 0.0), 12.0) == [Renew(expired=False)]
    assert machine.handle(Installed(13.0, 1013.0, 0.0), 13.0) == []
    assert machine.deadline() == 513.0


def test_a_demand_does_not_wait_for_a_back_off():
    machine = installed()
    machine.handle(Tick(), 500.0)
    machine.handle(Failed(0.5), 500.0)
    assert machine.handle(Demanded(), 500.1) == [Renew(expired=False)]


def test_a_demand_may_name_its_moment_but_never_puts_the_renewal_off():
    machine = installed()
    assert machine.handle(Demanded(at=30.0), 10.0) == []
    assert machine.deadline() == 30.0
    assert machine.handle(Demanded(at=900.0), 11.0) == []
    assert machine.deadline() == 30.0
    assert machine.handle(Tick(), 30.0) == [Renew(expired=False)]
