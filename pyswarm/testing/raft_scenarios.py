"""Disasters that chance rarely finds. Each runs through on a correct core, and asserts its promise."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from manager.raft.membership import AddMember, Member, RemoveMember
from manager.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from pyswarm.testing.raft_bench import SETTINGS, Bench
from pyswarm.testing.raft_node import Violation
from pyswarm.testing.raft_observer import ClientWrite

Loss = Callable[[Message], bool]


def promise(held: bool, what: str) -> None:
    """Raise where a promise was broken."""
    if not held:
        raise Violation(what)


def live(bench: Bench, ticks: int, lost: Loss = lambda message: False) -> None:
    """Time passes for all at one pace; what is not `lost` arrives within the tick."""
    for _ in range(ticks):
        for node in bench.nodes.values():
            if node.up:
                bench.tick(node.id)
        for _ in range(6):
            bench.disk(*(node.id for node in bench.nodes.values() if node.up))
            bench.pool = [message for message in bench.pool if not lost(message)]
            bench.deliver()


def leaders(bench: Bench) -> list[int]:
    """Who believes to lead."""
    return [node.id for node in bench.nodes.values() if node.leads]


def cut_off(*ids: int) -> Loss:
    """These hear nobody and nobody hears them."""
    return lambda message: (message.sender in ids) != (message.to in ids)


# -- votes ----------------------------------------------------------------------------------------


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
    promise(bench.nodes[1].leads, "1 has two of three votes, and does not lead")
    bench.crash(3)
    bench.start(3)
    bench.deliver(2, 3, VoteRequest)
    bench.disk(3)
    bench.deliver(3, 2, VoteReply)
    promise(not bench.nodes[2].leads, "3 has voted twice")
    return bench


def all_ask_at_once() -> None:
    """Five members with one pace: who waits a random time is elected soon, whatever the ties."""
    for seed in range(5):
        bench = Bench((1, 2, 3, 4, 5), chance=random.Random(seed))
        for _ in range(40):
            live(bench, SETTINGS.election_ticks)
            if leaders(bench):
                break
        promise(bool(leaders(bench)), "five members find no leader in forty elections")


def a_follower_returns() -> None:
    """Who was cut off must not depose the leader when it is back: it asks before it stands."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    term = bench.nodes[1].raft.term
    live(bench, 60, cut_off(3))
    live(bench, 20)
    promise(leaders(bench) == [1], "a follower that came back deposed the leader")
    promise(bench.nodes[1].raft.term == term, "a follower that came back made a new term")


def one_hears_nothing() -> None:
    """3 is heard and hears nobody's heartbeat: the others have a leader, and keep it."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    term = bench.nodes[1].raft.term
    live(bench, 80, lambda message: message.to == 3 and isinstance(message, Append | Heartbeat))
    promise(leaders(bench) == [1], "one that hears nothing deposed the leader")
    promise(bench.nodes[1].raft.term == term, "one that hears nothing made a new term")


def a_deaf_leader() -> None:
    """1 is heard by all and hears nobody: it must give up, or nothing is ever written again."""
    bench = Bench((1, 2, 3), chance=random.Random(1))
    bench.elect(1)
    bench.settle()
    live(bench, 60, lambda message: message.to == 1)
    promise(not bench.nodes[1].leads, "a leader that hears nobody goes on for ever")
    promise(bool(leaders(bench)), "nobody took over from a leader that hears nobody")


def an_old_leader_is_told() -> None:
    """A cut-off leader comes back to a later one, and follows at once."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.take()
    bench.elect(2, 3)
    bench.settle(2, 3)
    bench.tick(1)
    bench.settle()
    promise(leaders(bench) == [2], "two lead, and both have heard of each other")


def hand_over_to_one_that_lags() -> None:
    """The leadership goes to 3 when its log is complete, and not before: it would get no vote."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.propose(1, "missed by 3")
    bench.take(1, 3)
    bench.settle(1, 2)
    bench.do(1, lambda node: node.raft.transfer(3))
    early = [message for message in bench.pool if isinstance(message, TimeoutNow)]
    promise(not early, "a member that lags is told to take over")
    live(bench, SETTINGS.election_ticks - 1)
    promise(leaders(bench) == [3], "the leadership was not handed over")


def hand_over_to_one_that_is_gone() -> None:
    """The successor is dead: after an election's time the leader writes again."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.crash(3)
    bench.propose(1, "missed by 3")
    bench.settle(1, 2)
    bench.do(1, lambda node: node.raft.transfer(3))
    live(bench, 3 * SETTINGS.election_ticks)
    bench.propose(1, "after it")
    bench.settle(1, 2)
    promise(b"after it" in bench.observer.acknowledged.values(), "a write is lost in a hand-over")


# -- what is committed ----------------------------------------------------------------------------


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


def figure_8() -> Bench:
    """An entry of an older term on a majority may still be replaced; the paper's figure 8."""
    bench = lone_writer()
    old_entry_on_a_majority(bench)
    on_disk = [node.id for node in bench.nodes.values() if node.disk.has(3, 2)]
    promise(on_disk == [1, 2, 3], f"the old entry is on {on_disk}")
    # And indeed: 5 returns, has the later term, and replaces it.
    bench.crash(1)
    bench.start(5)
    bench.campaign(5)
    bench.settle(2, 3, 4, 5)  # refused: it is one term behind
    bench.elect(5, 2, 3, 4)
    bench.settle(2, 3, 4, 5)
    promise(bench.nodes[2].raft.log.term(3) != 2, "the old entry is still there")
    return bench


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


def a_majority_crashes_after_an_acknowledgement() -> Bench:
    """All lose power right after an acknowledgement; the one without the entry asks first."""
    bench = acknowledged_by(1, 2)
    promise(bench.observer.acknowledged == {3: b"precious"}, "the write was not acknowledged")
    bench.take()
    bench.crash(1, 2, 3)
    for raft_id in (1, 2, 3):
        bench.start(raft_id)
    bench.campaign(3)  # lacks the entry, so it gets no vote
    bench.settle(2, 3)
    promise(not bench.nodes[3].leads, "a member without an acknowledged entry leads")
    bench.elect(2, 3)
    bench.settle(2, 3)
    promise(bench.nodes[3].raft.log.term(3) == 2, "the acknowledged entry is lost")
    return bench


def a_follower_acknowledges_too_early() -> Bench:
    """The follower's reply is taken before its write is durable."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.take()
    bench.propose(1, "precious")
    bench.disk(1)
    bench.deliver(1, 2, Append)
    bench.deliver(2, 1, AppendReply)
    promise(not bench.observer.acknowledged, "acknowledged with one disk of three")
    return bench


def the_leader_restarts_before_its_fsync() -> Bench:
    """The leader's own log counts after its own fsync: 2 of 3 need two disks."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.take()
    bench.propose(1, "precious")
    bench.deliver(1, 2, Append)
    bench.disk(2)
    bench.deliver(2, 1, AppendReply)
    promise(not bench.observer.acknowledged, "acknowledged with one disk of three")
    bench.crash(1)
    return bench


def a_write_that_lost_its_place_returns() -> None:
    """1's write is at 3 too when another leader cuts it off 1's log, and 1 leads again.

    1 gives the place to another write, but with 3 the first one still wins: no client may have
    been told that it never takes effect.
    """
    bench = Bench((1, 2, 3, 4, 5))
    bench.elect(1)
    bench.settle()
    for data in (b"a", b"b", b"precious"):
        _write(bench, data)
    bench.disk(1)
    bench.deliver(1, 3, Append)
    bench.disk(3)
    bench.take()
    _win(bench, 2, 4, 5)
    bench.deliver(2, 1, Append)
    bench.disk(1)
    bench.crash(2)
    bench.take()
    _win(bench, 1, 4, 5)
    _write(bench, b"another")
    bench.crash(1)
    bench.take()
    bench.campaign(3)
    bench.settle(3, 4, 5)  # refused: that term has passed
    bench.elect(3, 4, 5)
    bench.settle(3, 4, 5)
    promise(bench.observer.committed[5][0] == 2, "the first write did not win")


def _write(bench: Bench, data: bytes) -> None:
    bench.do(1, lambda node: node.propose(data, ClientWrite(bench.observer, data)))


def _win(bench: Bench, candidate: int, *voters: int) -> None:
    """An election; what the new leader sends to its voters is lost."""
    for voter in (candidate, *voters):
        bench.nodes[voter].raft.elapsed = SETTINGS.election_ticks
    bench.campaign(candidate)
    for _ in range(6):
        bench.disk(candidate, *voters)
        for voter in voters:
            bench.take(candidate, voter, Append)
            bench.take(candidate, voter, Heartbeat)
            bench.deliver(candidate, voter)
            bench.disk(voter)
            bench.deliver(voter, candidate)
    promise(bench.nodes[candidate].leads, f"{candidate} was not elected")


# -- reads ----------------------------------------------------------------------------------------


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


# -- members ----------------------------------------------------------------------------------


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


SCENARIOS: dict[str, Callable[[], object]] = {
    scenario.__name__: scenario
    for scenario in (
        two_candidates_and_a_restart_between_them,
        all_ask_at_once,
        a_follower_returns,
        one_hears_nothing,
        a_deaf_leader,
        an_old_leader_is_told,
        hand_over_to_one_that_lags,
        hand_over_to_one_that_is_gone,
        figure_8,
        a_majority_crashes_after_an_acknowledgement,
        a_follower_acknowledges_too_early,
        the_leader_restarts_before_its_fsync,
        a_write_that_lost_its_place_returns,
        read_at_a_deposed_leader,
        read_with_an_old_answer,
        read_at_a_new_leader,
        a_learner_is_not_counted,
        a_removed_member_is_not_counted,
    )
}
