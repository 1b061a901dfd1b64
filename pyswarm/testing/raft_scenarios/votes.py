"""Who may lead: votes, terms, leases, hand-overs."""

from __future__ import annotations

import random

from manager.raft.messages import (
    Append,
    Heartbeat,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from manager.raft.settings import RaftSettings
from pyswarm.testing.raft_bench import SETTINGS, Bench
from pyswarm.testing.raft_scenarios.stage import cut_off, leaders, live, promise


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


def a_voter_crashes_before_its_fsync() -> None:
    """3 is about to vote for 1, loses power, and votes for 2 in the same term."""
    bench = Bench((1, 2, 3))
    for candidate in (1, 2):
        bench.campaign(candidate)
    bench.deliver(kind=VoteRequest)
    bench.deliver(kind=VoteReply)
    bench.disk(1, 2)
    bench.deliver(1, 3, VoteRequest)
    bench.deliver(3, 1, VoteReply)
    promise(not bench.nodes[1].leads, "1 leads by a vote that is not on disk")
    bench.crash(3)
    bench.start(3)
    bench.deliver(2, 3, VoteRequest)
    bench.disk(3)
    bench.deliver(3, 2, VoteReply)
    promise(bench.nodes[2].leads, "2 has two of three votes, and does not lead")


def a_candidate_crashes_before_its_fsync() -> None:
    """1 stands, loses power before its own vote is on disk, and votes for 3 in the same term."""
    bench = Bench((1, 2, 3))
    bench.campaign(1)
    bench.deliver(1, 2, VoteRequest)
    bench.deliver(2, 1, VoteReply)
    bench.deliver(1, 2, VoteRequest)
    bench.disk(2)
    bench.deliver(2, 1, VoteReply)
    bench.crash(1)
    bench.take()
    bench.start(1)
    bench.campaign(3)
    bench.settle(1, 3)
    promise(bench.nodes[3].leads, "3 was not elected")


def a_vote_comes_a_term_late() -> None:
    """2's vote for 1 arrives when 1 stands again, and 2 has voted for 3."""
    bench = Bench((1, 2, 3))
    bench.campaign(1)
    bench.deliver(1, 2, VoteRequest)
    bench.deliver(2, 1, VoteReply)
    bench.disk(1)
    bench.deliver(1, 2, VoteRequest)
    bench.disk(2)
    late = bench.take(2, 1, VoteReply)
    bench.take()
    bench.campaign(1)
    bench.deliver(1, 2, VoteRequest)
    bench.deliver(2, 1, VoteReply)
    bench.disk(1)
    bench.take()
    bench.campaign(3)
    bench.settle(2, 3)  # refused: 2 is in a later term
    bench.campaign(3)
    bench.settle(2, 3)
    promise(bench.nodes[3].leads, "3 was not elected")
    bench.pool.extend(late)
    bench.deliver(2, 1, VoteReply)
    promise(leaders(bench) == [3], "a vote counts in another term")


def the_longest_log_loses() -> None:
    """1 has many entries that nobody else has, 3 has one that is committed."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.propose(1, "a", "b", "c", "d")
    bench.disk(1)
    bench.crash(1)
    bench.take()
    bench.elect(2, 3)
    bench.propose(2, "precious")
    bench.settle(2, 3)
    bench.crash(2)
    bench.start(1)
    bench.take()
    for _ in range(3):
        bench.nodes[3].raft.elapsed = SETTINGS.election_ticks
        bench.campaign(1)
        bench.settle(1, 3)
    promise(not bench.nodes[1].leads, "the longest log wins over an acknowledged entry")


def a_member_of_a_later_term() -> None:
    """3 stood and was not heard: it has a later term than the leader, and must come back."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.do(3, lambda node: node.raft.campaign(transfer=True))
    bench.disk(3)
    bench.take()
    live(bench, 60)
    promise(len(leaders(bench)) == 1, "there is not one leader")
    terms = {node.raft.term for node in bench.nodes.values()}
    promise(len(terms) == 1, f"the members stay in terms {sorted(terms)}")


def an_append_comes_a_term_late() -> None:
    """3 has acknowledged an entry of 2's, when one of 1's for its place arrives."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.propose(1, "old")
    bench.disk(1)
    late = bench.take(1, 3, Append)
    bench.take()
    bench.elect(2, 3)
    bench.settle(2, 3)
    bench.pool.extend(late)
    bench.deliver(1, 3, Append)
    bench.disk(3)
    promise(bench.nodes[3].raft.log.term(3) == 3, "a deposed leader has replaced an entry")
    bench.crash(2)
    bench.take()
    for _ in range(3):
        bench.nodes[3].raft.elapsed = SETTINGS.election_ticks
        bench.campaign(1)
        bench.settle(1, 3)
    promise(not bench.nodes[1].leads, "1 leads without an acknowledged entry")


def all_ask_at_once() -> None:
    """Five members with one pace: who waits a random time is elected soon, whatever the ties."""
    for seed in range(5):
        bench = Bench((1, 2, 3, 4, 5), chance=random.Random(seed))
        for _ in range(40):
            live(bench, SETTINGS.election_ticks)
            if leaders(bench):
                break
        promise(bool(leaders(bench)), "five members find no leader in forty elections")


def the_leader_is_killed() -> None:
    """All see its connections break at once: a new one leads before anybody's timeout is over."""
    settings = RaftSettings()
    for seed in range(40):
        bench = Bench((1, 2, 3), settings, random.Random(seed))
        bench.elect(1)
        bench.settle()
        bench.crash(1)
        for peer in (2, 3):
            bench.do(peer, lambda node: node.raft.disconnected(1))
        live(bench, settings.election_ticks)
        promise(bool(leaders(bench)), "nobody leads soon after the leader was killed")


def a_connection_breaks() -> None:
    """3 sees the leader's connection break, and the leader lives: it stays."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.do(3, lambda node: node.raft.disconnected(1))
    live(bench, 60)
    promise(leaders(bench) == [1], "a broken connection deposed the leader")
    promise(bench.nodes[1].raft.term == 2, "a broken connection made a new term")


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
