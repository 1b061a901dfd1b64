"""Reads, and members that come and go."""

from __future__ import annotations

import contextlib

from manager.raft.membership import AddMember, Member, RemoveMember
from manager.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
)
from pyswarm.errors import Unavailable
from pyswarm.testing.raft_bench import SETTINGS, Bench
from pyswarm.testing.raft_scenarios.commits import acknowledged_by
from pyswarm.testing.raft_scenarios.stage import cut_off, leaders, live, promise, win


def read_at_a_deposed_leader() -> Bench:
    """1 is cut off and does not know yet that 2 leads and has written."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.take()
    bench.elect(2, 3)
    bench.propose(2, "newer")
    bench.settle(2, 3)
    assert bench.observer.highest == 4, bench.observer.highest
    assert bench.nodes[1].leads, "1 has not heard of 2"
    bench.read(1, 5)
    bench.deliver(kind=Heartbeat)
    bench.deliver(kind=HeartbeatReply)
    promise(not bench.served, "a deposed leader serves a read")
    return bench


def read_with_an_old_answer() -> None:
    """Answers to a round of before the read arrive after it: they say nothing about it."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.tick(1)
    bench.deliver(kind=Heartbeat)
    late = bench.take(kind=HeartbeatReply)
    bench.elect(2, 3)
    bench.propose(2, "newer")
    bench.settle(2, 3)
    assert bench.nodes[1].leads, "1 has not heard of 2"
    bench.read(1, 5)
    bench.pool.extend(late)
    bench.deliver(to=1, kind=HeartbeatReply)
    promise(not bench.served, "a read is served by answers of before it")


def read_at_a_new_leader() -> None:
    """2 leads, but of 1's term it does not know yet what is committed."""
    bench = acknowledged_by(1, 2)
    bench.take()
    bench.crash(1)
    bench.nodes[3].raft.elapsed = 5
    bench.nodes[2].raft.elapsed = 5
    bench.campaign(2)
    for _ in range(6):
        bench.disk(2, 3)
        bench.take(kind=Append)
        bench.deliver()
    promise(bench.nodes[2].leads, "2 was not elected")
    bench.read(2, 9)
    for _ in range(4):
        bench.tick(2)
        bench.take(kind=Append)
        bench.deliver()
    promise(not bench.served, "a leader serves reads before it knows what is committed")


def a_learner_is_not_counted() -> None:
    """The voters are 1 and 2; the learner 3 has everything, and that is not enough."""
    bench = Bench((1, 2))
    bench.elect(1)
    bench.settle()
    bench.add(3)
    bench.start(3)
    bench.change(1, AddMember(Member(3, learner=True)))
    live(bench, 10)
    promise(bench.nodes[3].applied == bench.nodes[1].applied, "the learner learns nothing")
    live(bench, 3, cut_off(2))
    bench.propose(1, "on one voter")
    live(bench, 3, cut_off(2))
    done = b"on one voter" in bench.observer.acknowledged.values()
    promise(not done, "a write is acknowledged with one voter of two")


def a_removed_member_is_not_counted() -> None:
    """3 was removed, and went on for a while: the voters are 1 and 2."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.change(1, RemoveMember(3))
    live(bench, 5)
    promise(bench.nodes[1].raft.membership.voters == (1, 2), "3 was not removed")
    bench.propose(1, "on one voter")
    live(bench, 3, cut_off(2))
    done = b"on one voter" in bench.observer.acknowledged.values()
    promise(not done, "a write is acknowledged with one voter of two")


def two_removals_at_once() -> None:
    """1 may not remove 5 and 4 together: 3 does not know of it, and wins with both of them."""
    bench = Bench((1, 2, 3, 4, 5))
    bench.elect(1)
    bench.settle()
    for gone in (5, 4):
        with contextlib.suppress(Unavailable):
            bench.change(1, RemoveMember(gone))
    for _ in range(6):
        bench.take(1, 4)
        bench.take(1, 5)
        bench.disk(1, 2, 3)
        if bench.nodes[1].applied == bench.nodes[1].raft.log.last_index:
            break
        bench.deliver()
    bench.take()
    bench.propose(1, "precious")
    bench.tick(1)
    bench.settle(1, 2)
    bench.take()
    for voter in (4, 5):
        bench.nodes[voter].raft.elapsed = SETTINGS.election_ticks
    bench.campaign(3)
    bench.settle(3, 4, 5)
    promise(bench.nodes[3].leads, "3 was not elected")


def one_of_two_is_switched_off() -> None:
    """2 is removed and gone for ever; 1 loses power right after, and must lead alone."""
    bench = Bench((1, 2))
    bench.elect(1)
    bench.settle()
    bench.change(1, RemoveMember(2))
    for _ in range(10):
        if bench.nodes[1].raft.membership.voters == (1,):
            break
        bench.disk(1, 2)
        bench.deliver()
    bench.crash(1, 2)
    bench.take()
    bench.start(1)
    live(bench, 20)
    promise(leaders(bench) == [1], "1 waits for the vote of a member that was removed")


def two_and_a_removed_leader() -> None:
    """1 leads, and applies its own removal, which 2 had asked for; 2 must take over.

    1's log is longer than 2's, so 1 cannot vote for 2, and only 1 knows what is committed.
    """
    bench = Bench((1, 2))
    bench.elect(2)
    bench.settle()
    bench.change(2, RemoveMember(1))
    bench.disk(2)
    bench.deliver(2, 1, Append)
    bench.disk(1)
    bench.take()
    bench.do(2, lambda node: node.raft.step_down())
    win(bench, 1, 2)
    bench.tick(1)
    bench.deliver(kind=Heartbeat)
    bench.deliver(kind=HeartbeatReply)
    bench.propose(1, "never sent")
    bench.disk(1)
    bench.deliver(1, 2, Append)
    bench.disk(2)
    bench.deliver(2, 1, AppendReply)
    bench.disk(1)
    promise(not leaders(bench), "1 leads a cluster that it is no member of")
    bench.take()
    live(bench, 60)
    promise(leaders(bench) == [2], "two members wait for each other")


def two_removals_are_not_applied_yet() -> None:
    """1 alone is the cluster. 2 knows that, but has not applied it: it must not ask 3."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    live(bench, 2)
    bench.holding.add(2)
    for gone in (3, 2):
        bench.change(1, RemoveMember(gone))
        live(bench, 3, cut_off(3))
    promise(bench.nodes[1].raft.membership.voters == (1,), "1 is not alone")
    bench.take()
    bench.propose(1, "precious")
    bench.disk(1)
    bench.take()
    for _ in range(3):
        bench.nodes[3].raft.elapsed = SETTINGS.election_ticks
        bench.campaign(2)
        bench.settle(2, 3)
    promise(not bench.nodes[2].leads, "2 leads a cluster that it is no member of")
