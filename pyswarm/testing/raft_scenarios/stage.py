"""What the scenarios are played with."""

from __future__ import annotations

from collections.abc import Callable

from manager.raft.messages import (
    Append,
    Heartbeat,
    Message,
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


def write(bench: Bench, data: bytes) -> None:
    """A client of 1 writes, and waits."""
    bench.do(1, lambda node: node.propose(data, ClientWrite(bench.observer, data)))


def win(bench: Bench, candidate: int, *voters: int) -> None:
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
