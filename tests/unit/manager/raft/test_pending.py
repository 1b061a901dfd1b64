from __future__ import annotations

import math

import pytest

from manager.raft.messages import Entry, EntryKind
from manager.raft.pending import GAP_SECONDS, GATHER_SECONDS, Deadlines, Proposals, Waiting
from pyswarm.errors import DeadlineExceeded, NotLeader, Unavailable


class Answer:
    """A future without an event loop."""

    def __init__(self) -> None:
        self.result: int | None = None
        self.error: BaseException | None = None
        self.given_up = False

    def done(self) -> bool:
        return self.given_up or self.result is not None or self.error is not None

    def set_result(self, result: int) -> None:
        self.result = result

    def set_exception(self, exception: BaseException) -> None:
        self.error = exception


def entry(index: int, term: int) -> Entry:
    return Entry(index, term, EntryKind.NORMAL, b"")


def in_flight(proposals: Proposals, index: int, term: int) -> Answer:
    answer = Answer()
    proposals.add(b"1234", answer, 10.0)
    proposals.appended(index, term, proposals.take())
    return answer


def test_a_caller_learns_the_index_of_its_own_entry() -> None:
    proposals = Proposals()
    answer = in_flight(proposals, 5, 2)
    proposals.applied(entry(4, 2))
    assert answer.result is None
    proposals.applied(entry(5, 2))
    assert answer.result == 5
    assert (len(proposals), proposals.bytes) == (0, 0)


def test_another_entry_in_its_place_means_that_it_never_happens() -> None:
    proposals = Proposals()
    answer = in_flight(proposals, 5, 2)
    proposals.applied(entry(5, 3))
    assert isinstance(answer.error, NotLeader)
    assert proposals.bytes == 0


def test_a_new_proposal_at_the_same_place_leaves_the_outcome_of_the_old_one_open() -> None:
    # Of five managers two may have the old one: they win an election while only this one has the
    # new one, and commit it (Figure 8 of the Raft paper).
    proposals = Proposals()
    old = in_flight(proposals, 5, 2)
    new = in_flight(proposals, 5, 4)
    assert isinstance(old.error, Unavailable)  # a member that has it may still commit it
    proposals.applied(entry(5, 4))
    assert new.result == 5


def test_a_snapshot_in_its_place_leaves_the_outcome_open() -> None:
    proposals = Proposals()
    answer, later = in_flight(proposals, 5, 2), in_flight(proposals, 9, 2)
    proposals.skipped(7)
    assert isinstance(answer.error, Unavailable)
    assert not later.done()
    assert proposals.bytes == 4


def queue(proposals: Proposals, count: int, now: float = 10.0) -> None:
    for _ in range(count):
        proposals.add(b"1234", Answer(), now)


def batch(proposals: Proposals, count: int, now: float, first: int) -> None:
    """`count` callers share a batch that begins at `now` and lands at once."""
    queue(proposals, count)
    proposals.appended(first, 2, proposals.begin(now))
    for index in range(first, first + count):
        proposals.applied(entry(index, 2))


def test_a_lone_caller_never_waits() -> None:
    proposals = Proposals()
    for number in range(5):
        queue(proposals, 1)
        assert proposals.wait_seconds(2, 10.0) == 0
        proposals.appended(number, 2, proposals.begin(10.0))
        proposals.applied(entry(number, 2))


def test_a_batch_on_its_way_lets_the_next_one_gather() -> None:
    proposals = Proposals()
    in_flight(proposals, 5, 2)
    queue(proposals, 100)
    assert proposals.wait_seconds(2, 10.0) == math.inf
    assert proposals.wait_seconds(3, 10.0) == 0, "the batch of an earlier term may never land"


def test_a_batch_waits_a_moment_for_as_many_as_the_last_one_had() -> None:
    proposals = Proposals()
    batch(proposals, 16, 10.0, first=1)
    queue(proposals, 15, now=10.055)
    assert proposals.wait_seconds(2, 10.055) == pytest.approx(GATHER_SECONDS - 0.055)
    assert proposals.wait_seconds(2, 10.1) == 0
    queue(proposals, 1)
    assert proposals.wait_seconds(2, 10.002) == 0


def test_a_batch_waits_for_nobody_once_they_stop_coming() -> None:
    proposals = Proposals()
    batch(proposals, 16, 10.0, first=1)
    queue(proposals, 3, now=10.01)
    assert proposals.wait_seconds(2, 10.015) == pytest.approx(GAP_SECONDS - 0.005)
    assert proposals.wait_seconds(2, 10.01 + GAP_SECONDS) == 0


def test_what_is_left_below_a_step_of_the_clock_is_not_waited_for() -> None:
    proposals = Proposals()
    batch(proposals, 16, 10.0, first=1)
    queue(proposals, 3, now=10.01)
    # A timer of libuv that is due in no whole millisecond is due at once, and nothing has passed.
    assert proposals.wait_seconds(2, 10.01 + GAP_SECONDS - 1e-9) == 0


def test_a_crowd_that_has_left_is_soon_forgotten() -> None:
    proposals = Proposals()
    batch(proposals, 64, 10.0, first=1)
    for number in range(45):
        batch(proposals, 1, 11.0 + number, first=100 + number)
    queue(proposals, 1)
    assert proposals.wait_seconds(2, 55.001) == 0


def test_who_gave_up_in_the_queue_is_not_proposed() -> None:
    proposals = Proposals()
    answer = Answer()
    proposals.add(b"1234", answer, 10.0)
    answer.given_up = True
    assert proposals.take() == []
    assert proposals.bytes == 0


def test_waiting_for_an_index_and_for_a_condition() -> None:
    waiting, far, near, condition = Waiting(), Answer(), Answer(), Answer()
    waiting.for_index(9, far)
    waiting.for_index(3, near)
    truth: list[int] = []
    waiting.until(lambda: bool(truth), condition)
    waiting.check(3)
    assert (near.result, far.result, condition.result) == (3, None, None)
    truth.append(1)
    waiting.check(4)
    assert condition.result == 4
    waiting.fail(Unavailable("over"))
    assert isinstance(far.error, Unavailable)


def test_a_caller_is_refused_at_the_first_look_after_its_time():
    deadlines, early, late = Deadlines(), Answer(), Answer()
    deadlines.add(early, 10.0, 2.0)
    deadlines.add(late, 10.0, 5.0)
    deadlines.look(11.9)
    assert not early.done()
    deadlines.look(12.05)
    assert isinstance(early.error, DeadlineExceeded)
    assert "within 2 s" in early.error.message
    assert not late.done()


def test_a_caller_that_has_its_answer_or_is_gone_is_not_refused():
    deadlines, answered, gone = Deadlines(), Answer(), Answer()
    deadlines.add(answered, 10.0, 2.0)
    answered.set_result(7)
    deadlines.add(gone, 10.0, 2.0)
    deadlines.remove(gone)
    deadlines.look(20.0)
    assert answered.error is None
    assert gone.error is None
