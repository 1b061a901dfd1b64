"""Disasters that chance rarely finds, each with the bug that it would find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manager.raft.core import Raft
from manager.raft.leader import Leader
from manager.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    VoteReply,
    VoteRequest,
)
from manager.raft.reads import Reads
from pyswarm.testing.raft_bench import Bench
from pyswarm.testing.raft_node import SimDisk, Violation


def old_entry_on_a_majority(bench: Bench) -> None:
    """5 dies; 1 returns, leads again, and copies the old entry to 3, but nothing of its own."""
    bench.crash(5)
    bench.start(1)
    for voter in (2, 3):
        bench.nodes[voter].raft.elapsed = 5  # their lease is over
    bench.campaign(1)
    bench.settle(1, 2, 3)  # refused: that term is 5's
    bench.campaign(1)
    for _ in range(12):
        bench.disk(1, 2, 3)
        for message in bench.take():
            if isinstance(message, Append):
                old = tuple(entry for entry in message.entries if entry.term < message.term)
                message = replace(message, entries=old)
            if message.to in (1, 2, 3):
                bench.pool.append(message)
        bench.deliver()


def lone_writer() -> Bench:
    """The Raft paper's figure 8: 1's entry is on two of five, 5's own on 5 only."""
    bench = Bench((1, 2, 3, 4, 5))
    bench.elect(1)
    bench.propose(1, "old")
    bench.disk(1)
    bench.deliver(1, 2, Append)
    bench.disk(2)
    bench.take()
    bench.crash(1)
    for voter in (3, 4):
        bench.nodes[voter].raft.elapsed = 5
    bench.campaign(5)
    for kind in (VoteRequest, VoteReply, VoteRequest, VoteReply):
        bench.disk(3, 4, 5)
        for voter in (3, 4):
            bench.deliver(5, voter, kind)
            bench.deliver(voter, 5, kind)
        bench.disk(3, 4, 5)
        for voter in (3, 4):
            bench.deliver(voter, 5, kind)
    bench.disk(5)
    bench.take()
    return bench


def test_figure_8_an_entry_of_an_older_term_does_not_commit_by_counting() -> None:
    bench = lone_writer()
    old_entry_on_a_majority(bench)
    one = bench.nodes[1].raft
    on_disk = [node.id for node in bench.nodes.values() if node.disk.has(3, 2)]
    assert on_disk == [1, 2, 3]
    assert one.log.commit == 2, "the old entry is on a majority, and still not safe"
    # And indeed: 5 returns, has the later term, and replaces it.
    bench.crash(1)
    bench.start(5)
    bench.campaign(5)
    bench.settle(2, 3, 4, 5)  # refused: it is one term behind
    bench.elect(5, 2, 3, 4)
    bench.settle(2, 3, 4, 5)
    assert bench.nodes[2].raft.log.term(3) != 2


def test_figure_8_finds_a_leader_that_commits_older_terms_by_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Leader, "may_commit", lambda self, index: True)
    bench = lone_writer()
    old_entry_on_a_majority(bench)
    assert bench.nodes[1].raft.log.commit == 3
    bench.crash(1)
    bench.start(5)
    bench.campaign(5)
    bench.settle(2, 3, 4, 5)  # refused: it is one term behind
    with pytest.raises(AssertionError, match=r"lacks committed entry 3|are committed"):
        bench.elect(5, 2, 3, 4)


def acknowledged_by(leader: int, other: int) -> Bench:
    """A write that was just acknowledged with the help of one follower."""
    bench = Bench((1, 2, 3))
    bench.elect(leader)
    bench.take()
    bench.propose(leader, "precious")
    bench.disk(leader)
    bench.deliver(leader, other, Append)
    bench.disk(other)
    bench.deliver(other, leader, AppendReply)
    return bench


def test_what_was_acknowledged_survives_the_crash_of_everyone_right_after() -> None:
    bench = acknowledged_by(1, 2)
    assert bench.observer.acknowledged == {3: b"precious"}
    bench.take()
    bench.crash(1, 2, 3)
    for raft_id in (1, 2, 3):
        bench.start(raft_id)
    bench.campaign(3)  # lacks the entry, so it gets no vote
    bench.settle(2, 3)
    assert not bench.nodes[3].leads
    bench.elect(2, 3)
    bench.settle(2, 3)
    assert bench.nodes[3].raft.log.term(3) == 2


def test_a_reply_before_the_fsync_is_found_by_a_crash_right_after_the_ack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promise = Raft.promise

    def hasty(self, message):
        (self.send if isinstance(message, AppendReply) else promise.__get__(self))(message)

    monkeypatch.setattr(Raft, "promise", hasty)
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.take()
    bench.propose(1, "precious")
    bench.disk(1)
    bench.deliver(1, 2, Append)
    with pytest.raises(Violation, match="only \\[1\\] have it on disk"):
        bench.deliver(2, 1, AppendReply)


def two_candidates_and_a_restart_between_them() -> Bench:
    """3 votes for 1, crashes, and is then asked by 2 in the same term."""
    bench = Bench((1, 2, 3))
    for candidate in (1, 2):
        bench.campaign(candidate)
    bench.deliver(kind=VoteRequest)  # all pre-votes are promised
    bench.deliver(kind=VoteReply)
    bench.disk(1, 2)
    bench.deliver(1, 3, VoteRequest)
    bench.disk(3)
    bench.deliver(3, 1, VoteReply)
    assert bench.nodes[1].leads
    bench.crash(3)
    bench.start(3)
    bench.deliver(2, 3, VoteRequest)
    bench.disk(3)
    bench.deliver(3, 2, VoteReply)
    return bench


def test_a_vote_is_remembered_over_a_restart() -> None:
    bench = two_candidates_and_a_restart_between_them()
    assert not bench.nodes[2].leads


def test_a_vote_that_is_forgotten_on_restart_makes_two_leaders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = SimDisk.saved
    monkeypatch.setattr(SimDisk, "saved", lambda self: replace(saved(self), vote=0))
    with pytest.raises(Violation, match="two leaders in term 2"):
        two_candidates_and_a_restart_between_them()


def read_at_a_deposed_leader() -> Bench:
    """1 is cut off and does not know yet that 2 leads and has written."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.take()
    bench.elect(2, 3)
    bench.propose(2, "newer")
    bench.settle(2, 3)
    assert bench.observer.highest == 4
    assert bench.nodes[1].leads
    bench.read(1, 5)
    return bench


def test_a_deposed_leader_serves_no_read() -> None:
    bench = read_at_a_deposed_leader()
    bench.deliver(kind=Heartbeat)
    bench.deliver(kind=HeartbeatReply)
    assert bench.served == []


def test_a_leader_that_reads_without_asking_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(self, me, voters):
        found = [read for _, read in self._open]
        self._open.clear()
        return found

    monkeypatch.setattr(Reads, "served", at_once)
    with pytest.raises(Violation, match="4 was done before"):
        read_at_a_deposed_leader()
