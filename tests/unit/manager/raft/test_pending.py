"""Callers and their entries."""

from __future__ import annotations

from manager.raft.messages import Entry, EntryKind
from manager.raft.pending import BATCHES_MOST, Proposals


class Caller:
    """Wants no answer here."""

    def done(self) -> bool:
        return False

    def set_result(self, result: int, /) -> None:
        pass

    def set_exception(self, exception: BaseException, /) -> None:
        pass


def entry(index: int, term: int) -> Entry:
    return Entry(index=index, term=term, kind=EntryKind.NORMAL, data=b"x")


def on_their_way(term: int) -> Proposals:
    """As many batches of two as may be on their way, from index 1."""
    proposals = Proposals()
    for number in range(BATCHES_MOST):
        assert not proposals.gathers(term)
        proposals.appended(1 + 2 * number, term, [(b"x", Caller()), (b"x", Caller())])
    return proposals


def test_proposals_gather_until_the_first_batch_is_applied_whole() -> None:
    proposals = on_their_way(term=3)
    assert proposals.gathers(3)
    proposals.applied(entry(1, 3))
    assert proposals.gathers(3)
    proposals.applied(entry(2, 3))
    assert not proposals.gathers(3)


def test_batches_of_an_earlier_term_hold_nobody_up() -> None:
    proposals = on_their_way(term=3)
    assert proposals.gathers(3)
    assert not proposals.gathers(4)


def test_a_snapshot_in_place_of_the_entries_ends_the_gathering() -> None:
    proposals = on_their_way(term=3)
    proposals.skipped(2)
    assert not proposals.gathers(3)
