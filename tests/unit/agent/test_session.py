import pytest

from agent.session import (
    GOOD_SECONDS,
    HINTS_MAX,
    OPEN_SECONDS,
    RETRY_MOST_SECONDS,
    SILENCE_PERIODS,
    Broken,
    Close,
    Heard,
    ManagersKnown,
    Open,
    Opened,
    SendBeat,
    SendProbe,
    SessionMachine,
    Stopped,
    Tick,
)
from pyswarm.core import NEVER


def machine_of(*managers):
    machine = SessionMachine(shuffle=sorted, jitter=lambda limit: limit)
    machine.handle(ManagersKnown(managers), 0.0)
    return machine


def tell(machine, event, now):
    commands = machine.handle(event, now)
    machine.check()
    return commands


def test_without_managers_it_waits():
    machine = SessionMachine(shuffle=sorted, jitter=lambda limit: limit)
    assert tell(machine, Tick(), 0.0) == []
    assert machine.deadline() == NEVER


def test_it_beats_each_period():
    machine = machine_of("a:1")
    assert tell(machine, Tick(), 0.0) == [Open("a:1")]
    assert tell(machine, Opened("s", 2.0), 1.0) == [SendBeat("s")]
    assert machine.deadline() == 3.0
    assert tell(machine, Tick(), 3.0) == [SendBeat("s")]
    assert tell(machine, Tick(), 3.5) == []


def test_a_follower_that_names_the_leader_is_followed_at_once():
    machine = machine_of("a:1", "b:1", "c:1")
    tell(machine, Tick(), 0.0)
    assert tell(machine, Broken("not the leader", "c:1"), 0.1) == [
        Close("not the leader"),
        Open("c:1"),
    ]


def test_a_leader_may_be_named_that_was_not_known():
    machine = machine_of("a:1")
    tell(machine, Tick(), 0.0)
    assert Open("new:1") in tell(machine, Broken("not the leader", "new:1"), 0.1)


def test_hints_that_lead_in_a_circle_end_in_a_pause():
    machine = machine_of("a:1", "b:1")
    tell(machine, Tick(), 0.0)
    for _ in range(HINTS_MAX):
        assert len(tell(machine, Broken("no", "b:1"), 1.0)) == 2
    assert tell(machine, Broken("no", "b:1"), 1.0) == [Close("no")]
    assert machine.deadline() > 1.0


def test_managers_are_tried_in_turn_with_growing_pauses():
    machine, now, tried, pauses = machine_of("a:1", "b:1"), 0.0, [], []
    for _ in range(8):
        [opened] = tell(machine, Tick(), now)
        tried.append(opened.address)
        tell(machine, Broken("refused"), now)
        pauses.append(machine.deadline() - now)
        now = machine.deadline()
    assert tried == ["a:1", "b:1"] * 4
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0])
    assert max(pauses) <= RETRY_MOST_SECONDS


def test_a_manager_that_says_nothing_is_given_up():
    machine = machine_of("a:1")
    tell(machine, Tick(), 0.0)
    assert machine.deadline() == OPEN_SECONDS
    [closed] = tell(machine, Tick(), OPEN_SECONDS)
    assert "a:1 did not answer" in closed.reason


def test_after_a_good_session_the_next_try_comes_soon():
    machine = machine_of("a:1")
    for now in (0.0, 10.0, 20.0):
        tell(machine, Tick(), now)
        tell(machine, Broken("refused"), now)
    tell(machine, Tick(), 30.0)
    tell(machine, Opened("s", 1.0), 30.0)
    tell(machine, Broken("the stream ended"), 30.0 + GOOD_SECONDS)
    assert machine.deadline() == pytest.approx(30.0 + GOOD_SECONDS + 0.1)


def test_sessions_that_break_at_once_back_off():
    machine, now, pauses = machine_of("a:1"), 0.0, []
    for number in range(4):
        tell(machine, Tick(), now)
        tell(machine, Opened(f"s{number}", 1.0), now)
        tell(machine, Broken("bad report"), now)
        pauses.append(machine.deadline() - now)
        now = machine.deadline()
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8])


def test_silence_asks_for_a_probe():
    machine = machine_of("a:1")
    tell(machine, Tick(), 0.0)
    tell(machine, Opened("s", 1.0), 0.0)
    tell(machine, Heard(), 5.0)
    assert SendProbe("s") not in tell(machine, Tick(), SILENCE_PERIODS)
    assert SendProbe("s") in tell(machine, Tick(), 5.0 + SILENCE_PERIODS)


def test_a_second_hello_of_one_session_changes_its_period_only():
    machine = machine_of("a:1")
    tell(machine, Tick(), 0.0)
    tell(machine, Opened("s", 10.0), 0.0)
    assert tell(machine, Opened("s", 1.0), 0.5) == []
    assert machine.deadline() == 1.5


def test_a_goodbye_is_the_last_word():
    machine = machine_of("a:1")
    tell(machine, Tick(), 0.0)
    tell(machine, Opened("s", 1.0), 0.0)
    assert tell(machine, Stopped(goodbye=True), 1.0) == [SendBeat("s", goodbye=True)]
    assert tell(machine, Broken("the session is over"), 1.1) == []
    assert tell(machine, Tick(), 99.0) == []
    assert machine.deadline() == NEVER


def test_a_stop_without_goodbye_says_that_the_node_comes_back():
    machine = machine_of("a:1")
    tell(machine, Tick(), 0.0)
    tell(machine, Opened("s", 1.0), 0.0)
    assert tell(machine, Stopped(), 1.0) == [SendBeat("s", restarting=True)]


def test_with_leases_it_asks_at_once_and_then_each_so_often():
    machine = machine_of("a:1")
    machine.probe_every(2.5, 0.0)
    tell(machine, Tick(), 0.0)
    tell(machine, Opened("s", 1.0), 1.0)
    assert SendProbe("s") in tell(machine, Tick(), 1.0)
    tell(machine, Heard(), 1.1)
    assert SendProbe("s") not in tell(machine, Tick(), 3.4)
    assert SendProbe("s") in tell(machine, Tick(), 3.5)
    machine.probe_every(NEVER, 4.0)
    tell(machine, Heard(), 8.0)
    assert SendProbe("s") not in tell(machine, Tick(), 9.0)
