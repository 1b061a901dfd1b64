"""A node lives as long as it beats."""

from manager.dispatcher.sessions import ADOPTION_SECONDS, RESTART_SECONDS, NodeDown, Sessions
from pyswarm.core import NEVER


def machine():
    return Sessions(period_seconds=1.0, misses=3)


def test_a_node_is_down_after_three_missed_beats():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    assert sessions.beat("n1", "s1", now=1.0)
    assert sessions.deadline() == 4.0
    assert sessions.tick(now=3.9) == []
    assert sessions.tick(now=4.0) == [NodeDown("n1", "no heartbeat for 3 s", 3.0)]
    assert sessions.tick(now=5.0) == []
    assert sessions.deadline() == NEVER


def test_a_beat_of_an_older_session_does_not_count():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    sessions.register("n1", "s2", now=1.0)
    assert not sessions.beat("n1", "s1", now=2.0)
    assert sessions.is_current("n1", "s2")
    assert [d.node_id for d in sessions.tick(now=4.0)] == ["n1"]


def test_a_new_leader_gives_known_nodes_time_to_find_it():
    sessions = machine()
    sessions.expect("n1", now=0.0)
    assert sessions.tick(now=3.0 + ADOPTION_SECONDS - 0.1) == []
    assert [d.node_id for d in sessions.tick(now=3.0 + ADOPTION_SECONDS)] == ["n1"]


def test_expecting_a_node_does_not_end_its_session():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    sessions.expect("n1", now=0.5)
    assert sessions.is_current("n1", "s1")


def test_a_goodbye_is_not_a_death():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    sessions.forget("n1")
    assert sessions.tick(now=100.0) == []


def test_new_settings_count_from_the_next_beat():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    sessions.configure(5.0, 2)
    assert sessions.deadline() == 3.0
    sessions.beat("n1", "s1", now=1.0)
    assert sessions.deadline() == 11.0


def test_an_announced_restart_has_more_time_than_silence():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    sessions.restarting("n1", "s1", now=1.0)
    assert sessions.tick(now=1.0 + RESTART_SECONDS - 0.1) == []
    assert [d.node_id for d in sessions.tick(now=1.0 + RESTART_SECONDS)] == ["n1"]


def test_a_restart_ends_with_the_next_session():
    sessions = machine()
    sessions.register("n1", "s1", now=0.0)
    sessions.restarting("n1", "s1", now=1.0)
    sessions.register("n1", "s2", now=3.0)
    assert sessions.deadline() == 6.0
