"""The log in memory: a base that stands for what was compacted, and the entries behind it.

    base   <=  applied  <=  commit,  stable  <=  last          handed: given to the disk

Entries up to `stable` are on disk. Those up to `handed` are on their way there. Only entries that
are both committed and stable are applied.
"""

from __future__ import annotations

from collections.abc import Sequence

from manager.raft.messages import Entry, SnapshotMeta


class Log:
    """Entries from `base_index` + 1 to `last_index`, and the marks on them."""

    def __init__(
        self,
        snapshot: SnapshotMeta | None = None,
        entries: Sequence[Entry] = (),
        commit: int = 0,
    ) -> None:
        self.snapshot = snapshot or SnapshotMeta()
        kept = list(entries)
        if kept and kept[0].index <= self.snapshot.index:
            # The first entry becomes the base: its term is known, its content no longer needed.
            self.base_index, self.base_term = kept[0].index, kept[0].term
            kept = kept[1:]
        else:
            self.base_index, self.base_term = self.snapshot.index, self.snapshot.term
        self._entries = kept
        self.last_index = self.base_index + len(kept)
        """The index of the last entry, or the base."""
        self.stable = self.handed = self.last_index
        self.applied = self.snapshot.index
        self.commit = max(self.snapshot.index, min(commit, self.last_index))
        self.check()

    @property
    def last_term(self) -> int:
        """The term of the last entry, or of the base."""
        return self._entries[-1].term if self._entries else self.base_term

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None where it is not in the log."""
        if index == self.base_index:
            return self.base_term
        place = index - self.base_index - 1
        return self._entries[place].term if 0 <= place < len(self._entries) else None

    def slice(self, first: int, last: int, limit_bytes: int) -> tuple[Entry, ...]:
        """Entries from `first` to `last`, cut at `limit_bytes`, but at least one."""
        low = first - self.base_index - 1
        assert low >= 0, f"entry {first} was compacted, the base is {self.base_index}"
        found = self._entries[low : last - self.base_index]
        total = 0
        for count, entry in enumerate(found):
            total += len(entry.data) + 32
            if total > limit_bytes and count:
                return tuple(found[:count])
        return tuple(found)

    def extend(self, entries: Sequence[Entry]) -> None:
        """New entries behind the last one."""
        assert entries[0].index == self.last_index + 1, (entries[0].index, self.last_index)
        self._entries.extend(entries)
        self.last_index += len(entries)

    def try_append(self, prev_index: int, prev_term: int, entries: Sequence[Entry]) -> bool:
        """Take a leader's entries; False where the place before them does not agree.

        Entries that are there already stay: only a conflict cuts the log, never a repetition.
        """
        if self.term(prev_index) != prev_term:
            return False
        for place, entry in enumerate(entries):
            known = self.term(entry.index)
            if known != entry.term:
                if known is not None:
                    self.truncate(entry.index)
                self.extend(entries[place:])
                break
        return True

    def truncate(self, first: int) -> None:
        """Drop the entries from `first` on; a committed entry is never dropped."""
        assert first > self.commit, f"entry {first} conflicts, but {self.commit} are committed"
        del self._entries[first - self.base_index - 1 :]
        self.last_index = first - 1
        self.stable = min(self.stable, first - 1)
        self.handed = min(self.handed, first - 1)

    def agree_hint(self, index: int, term: int) -> tuple[int, int]:
        """The last place up to `index` whose term is at most `term`: nothing later can agree."""
        place = min(index, self.last_index)
        while True:
            known = self.term(place)
            if known is None:
                return place, 0
            if known <= term:
                return place, known
            place -= 1

    def commit_to(self, index: int) -> bool:
        """Raise the commit mark; False where it does not move."""
        index = min(index, self.last_index)
        if index <= self.commit:
            return False
        self.commit = index
        return True

    def written(self, index: int, term: int) -> None:
        """The disk holds the entries up to `index`, unless the log was cut meanwhile."""
        if index > self.stable and self.term(index) == term:
            self.stable = index
            # The log may have been cut and have come back to the same entries meanwhile.
            self.handed = max(self.handed, index)

    def install(self, snapshot: SnapshotMeta) -> None:
        """Replace everything by a snapshot of the leader."""
        assert snapshot.index > self.commit, (snapshot.index, self.commit)
        self.snapshot = snapshot
        self._entries.clear()
        self.base_index, self.base_term = snapshot.index, snapshot.term
        self.last_index = snapshot.index
        self.stable = self.handed = self.commit = self.applied = snapshot.index

    def compact(self, snapshot: SnapshotMeta, keep: int) -> None:
        """An own snapshot is on disk: drop what it replaces, but for the last `keep` entries."""
        if snapshot.index <= self.snapshot.index:
            return
        assert snapshot.index <= self.applied, (snapshot.index, self.applied)
        self.snapshot = snapshot
        base = snapshot.index - keep
        term = self.term(base)
        if base > self.base_index and term is not None:
            del self._entries[: base - self.base_index]
            self.base_index, self.base_term = base, term

    def check(self) -> None:
        """Assert the order of the marks."""
        marks = (self.base_index, self.applied, self.commit, self.stable, self.handed)
        assert self.base_index <= self.snapshot.index <= self.applied <= self.commit, marks
        assert self.last_index == self.base_index + len(self._entries), (marks, self.last_index)
        assert self.commit <= self.last_index, (marks, self.last_index)
        assert self.stable <= self.handed <= self.last_index, (marks, self.last_index)
