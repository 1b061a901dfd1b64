from __future__ import annotations

from dataclasses import replace

from manager.raft.progress import Progress, ProgressState
from manager.raft.settings import RaftSettings

SETTINGS = replace(RaftSettings(), inflight_messages=2, inflight_bytes=100)


def replicating() -> Progress:
    progress = Progress(SETTINGS, 6)
    progress.accepted(5)
    progress.replicate()
    return progress


def test_a_probe_waits_for_its_answer() -> None:
    progress = Progress(SETTINGS, 6)
    assert progress.may_send
    progress.sent(5, 0, 0)
    assert not progress.may_send
    progress.heard_heartbeat()
    assert progress.may_send


def test_replication_runs_ahead_until_the_window_is_full() -> None:
    progress = replicating()
    progress.sent(7, 2, 10)
    assert progress.next == 8
    progress.sent(8, 1, 10)
    assert not progress.may_send
    progress.accepted(7)
    assert progress.may_send


def test_large_messages_fill_the_window_too() -> None:
    progress = replicating()
    progress.sent(6, 1, 100)
    assert not progress.may_send
    progress.accepted(6)
    assert progress.may_send


def test_a_heartbeats_answer_lets_one_message_through_a_full_window() -> None:
    progress = replicating()
    progress.sent(6, 1, 10)
    progress.sent(7, 1, 10)
    progress.heard_heartbeat()
    assert progress.may_send


def test_an_old_refusal_changes_nothing() -> None:
    progress = replicating()
    assert not progress.rejected(4, 3)
    probe = Progress(SETTINGS, 6)
    assert not probe.rejected(9, 3)
    assert probe.next == 6


def test_a_refusal_goes_back_to_the_hint_but_not_before_the_match() -> None:
    probe = Progress(SETTINGS, 20)
    probe.accepted(3)
    probe.next = 20
    assert probe.rejected(19, 7)
    assert probe.next == 8
    assert probe.rejected(7, 0)
    assert probe.next == 4


def test_after_a_snapshot_it_probes_behind_it_or_where_it_was() -> None:
    progress = Progress(SETTINGS, 6)
    progress.install(100)
    assert not progress.may_send
    progress.probe()
    assert (progress.state, progress.next) == (ProgressState.PROBE, 101)
    progress.install(200)
    progress.snapshot_failed()
    assert (progress.next, progress.paused) == (1, True)


def test_a_peer_that_stays_silent_is_not_active() -> None:
    progress = replicating()
    progress.silent_ticks = SETTINGS.election_ticks
    assert not progress.active
