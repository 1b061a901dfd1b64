"""What is committed stays, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace

from manager.raft.messages import (
    Append,
    AppendReply,
    InstallSnapshot,
    VoteReply,
    VoteRequest,
)
from pyswarm.testing.raft_bench import Bench
from pyswarm.testing.raft_scenarios.stage import live, promise, win, write


def _lone_writer() -> Bench:
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
    bench = _lone_writer()
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


def entries_are_replaced_while_they_are_written() -> None:
    """3 writes an entry of 1's when one of 2's takes its place: that one is not on disk yet."""
    bench = Bench((1, 2, 3, 4, 5))
    bench.elect(1)
    bench.settle()
    bench.propose(1, "old")
    bench.deliver(1, 3, Append)
    bench.take()
    win(bench, 2, 4, 5)
    bench.deliver(2, 3, Append)
    for _ in range(3):
        bench.disk(3)
        bench.deliver(3, 2)
    promise(bench.nodes[3].disk.has(3, 3), "the entry that replaced the other is not written")


def a_follower_missed_many_writes() -> None:
    """A new leader asks further and further back, until the logs agree."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.crash(3)
    for value in ("a", "b", "c"):
        bench.propose(1, value)
        bench.settle(1, 2)
    bench.do(1, lambda node: node.raft.step_down())
    bench.elect(2, 1)
    bench.take()
    bench.start(3)
    live(bench, 10)
    promise(bench.nodes[3].applied == bench.nodes[2].applied, "3 never gets what it missed")


def a_snapshot_is_lost() -> None:
    """3 needs a snapshot; the first one does not arrive, so there must be a second one."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    bench.crash(3)
    bench.propose(1, "missed by 3")
    bench.settle(1, 2)
    bench.nodes[1].take_snapshot()
    bench.take()
    bench.start(3)
    live(bench, 3, lambda message: isinstance(message, InstallSnapshot))
    bench.do(1, lambda node: node.raft.snapshot_reported(3, arrived=False))
    live(bench, 10)
    promise(bench.nodes[3].applied == bench.nodes[1].applied, "3 waits for a snapshot for ever")


def the_last_append_is_lost() -> None:
    """No write follows: a heartbeat's answer shows that the follower lacks something."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    live(bench, 3)
    bench.propose(1, "last")
    bench.take(1, 3, Append)
    live(bench, 5)
    promise(bench.nodes[3].applied == bench.nodes[1].applied, "3 never gets the last entry")


def a_snapshot_comes_instead_of_the_answer() -> None:
    """1 lost the lead with a write under way; 2 commits it, compacts, and sends a snapshot."""
    bench = Bench((1, 2, 3))
    bench.elect(1)
    bench.settle()
    write(bench, b"precious")
    bench.disk(1)
    bench.deliver(1, 2, Append)
    bench.disk(2)
    bench.take()
    bench.elect(2, 3)
    bench.settle(2, 3)
    bench.nodes[2].take_snapshot()
    bench.take()
    live(bench, 4)
    promise(bench.nodes[1].disk.snapshot.index > 3, "no snapshot came")


def a_write_that_lost_its_place_returns() -> None:
    """1's write is at 3 too when another leader cuts it off 1's log, and 1 leads again.

    1 gives the place to another write, but with 3 the first one still wins: no client may have
    been told that it never takes effect.
    """
    bench = Bench((1, 2, 3, 4, 5))
    bench.elect(1)
    bench.settle()
    for data in (b"a", b"b", b"precious"):
        write(bench, data)
    bench.disk(1)
    bench.deliver(1, 3, Append)
    bench.disk(3)
    bench.take()
    win(bench, 2, 4, 5)
    bench.deliver(2, 1, Append)
    bench.disk(1)
    bench.crash(2)
    bench.take()
    win(bench, 1, 4, 5)
    write(bench, b"another")
    bench.crash(1)
    bench.take()
    bench.campaign(3)
    bench.settle(3, 4, 5)  # refused: that term has passed
    bench.elect(3, 4, 5)
    bench.settle(3, 4, 5)
    promise(bench.observer.committed[5][0] == 2, "the first write did not win")
