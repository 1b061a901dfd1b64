from __future__ import annotations

import pytest

from manager.raft.log import Log
from manager.raft.messages import Entry, EntryKind, SnapshotMeta


def entries(*terms: int, first: int = 1) -> list[Entry]:
    return [
        Entry(index, term, EntryKind.NORMAL, b"x" * 10) for index, term in enumerate(terms, first)
    ]


def terms(log: Log) -> list[int | None]:
    return [log.term(index) for index in range(log.base_index + 1, log.last_index + 1)]


def test_a_repeated_append_cuts_nothing() -> None:
    log = Log(SnapshotMeta(), entries(1, 1, 2, 2))
    assert log.try_append(1, 1, entries(1, first=2))
    assert terms(log) == [1, 1, 2, 2]


def test_a_conflict_cuts_from_its_place_on() -> None:
    log = Log(SnapshotMeta(), entries(1, 1, 2, 2))
    assert log.try_append(2, 1, entries(3, 3, 3, first=3))
    assert terms(log) == [1, 1, 3, 3, 3]
    assert (log.stable, log.handed) == (2, 2)


def test_an_append_behind_a_place_that_differs_is_refused() -> None:
    log = Log(SnapshotMeta(), entries(1, 1))
    assert not log.try_append(2, 2, entries(3, first=3))
    assert not log.try_append(5, 1, entries(3, first=6))
    assert terms(log) == [1, 1]


def test_cutting_a_committed_entry_is_a_bug_that_shows_its_numbers() -> None:
    log = Log(SnapshotMeta(), entries(1, 1, 1), commit=2)
    with pytest.raises(AssertionError, match="entry 2 conflicts, but 2 are committed"):
        log.try_append(1, 1, entries(2, first=2))


def test_the_hint_skips_all_terms_that_cannot_agree() -> None:
    log = Log(SnapshotMeta(), entries(1, 1, 4, 4, 4))
    assert log.agree_hint(9, 3) == (2, 1)
    assert log.agree_hint(4, 4) == (4, 4)
    assert log.agree_hint(1, 9) == (1, 1)


def test_a_write_that_was_overtaken_by_a_cut_makes_nothing_stable() -> None:
    log = Log(SnapshotMeta(), entries(1))
    log.extend(entries(1, 1, first=2))
    log.handed = 3  # the write of 2 and 3 is under way
    log.try_append(1, 1, entries(2, first=2))
    log.written(3, 1)
    assert (log.stable, log.last_index) == (1, 2)


def test_compaction_keeps_a_tail_for_the_slow() -> None:
    log = Log(SnapshotMeta(), entries(1, 1, 2, 2, 2, 2), commit=6)
    log.applied = 5
    log.compact(SnapshotMeta(5, 2), keep=2)
    assert (log.base_index, log.base_term) == (3, 2)
    assert log.term(3) == 2
    assert log.term(2) is None
    log.check()


def test_a_restart_keeps_entries_before_the_snapshot() -> None:
    log = Log(SnapshotMeta(4, 2), entries(1, 2, 2, 2, first=2), commit=0)
    assert (log.base_index, log.base_term, log.applied, log.commit) == (2, 1, 4, 4)
    assert terms(log) == [2, 2, 2]


def test_a_slice_is_cut_at_its_size_but_never_empty() -> None:
    log = Log(SnapshotMeta(), entries(1, 1, 1, 1))
    assert len(log.slice(1, 4, 1)) == 1
    assert len(log.slice(1, 4, 42 * 2)) == 2
    assert len(log.slice(2, 3, 1 << 20)) == 2
