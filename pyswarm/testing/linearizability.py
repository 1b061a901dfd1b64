"""Whether what clients saw can be explained by one order of their operations, one at a time.

The order must keep real time: an operation that returned before another began stands in front of
it. A history falls apart by key, since a system is linearizable when each object is (Herlihy and
Wing, 1990). Values and elements are used once in a key, and that makes both checks fast:

* A **register** is searched just in time (Lowe, "Testing for linearizability", 2017): the states
  that are possible after each return, with the open operations that each has already counted.
* A **list** that only grows is its own order: the longest answer gives each append and each read
  its place, and a scan over the places finds what real time contradicts.

An operation whose outcome is not known counts only if somebody saw its value, and then from some
moment before the first answer that shows it; so it costs the search no more than any other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

Elements = tuple[str, ...]


class Kind(Enum):
    """What an operation does; the first three are a register's."""

    READ = "read"
    WRITE = "write"
    SWAP = "swap"
    APPEND = "append"
    LIST = "list"


class Outcome(Enum):
    """What its client knows: it took effect, it never will, or it may have or may yet."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of one client on one key, in seconds of one clock.

    `value` is what was written or appended, or what a READ saw (None: nothing yet); `expected` is
    the value that a SWAP replaces; `elements` is what a LIST saw.
    """

    client: str
    key: str
    kind: Kind
    value: str | None = None
    expected: str | None = None
    elements: Elements = ()
    outcome: Outcome = Outcome.OK
    began: float
    returned: float = math.inf

    def __str__(self) -> str:
        what = {
            Kind.READ: f"read {self.value!r}",
            Kind.WRITE: f"wrote {self.value!r}",
            Kind.SWAP: f"replaced {self.expected!r} by {self.value!r}",
            Kind.APPEND: f"appended {self.value!r}",
            Kind.LIST: f"read a list of {len(self.elements)}",
        }[self.kind]
        ending = {Outcome.FAILED: " (refused)", Outcome.UNKNOWN: " (outcome unknown)"}
        when = f"{self.began:.6f}-{self.returned:.6f}"
        return f"{self.client} {what} at {when}{ending.get(self.outcome, '')}"


@dataclass(frozen=True, slots=True)
class Violation:
    """`key` cannot be explained; `operations` are those that show it."""

    key: str
    reason: str
    operations: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return "\n  ".join([f"{self.key}: {self.reason}", *map(str, self.operations)])


WRITES = (Kind.WRITE, Kind.SWAP, Kind.APPEND)


def check(history: Iterable[Operation]) -> list[Violation]:
    """One violation for each key that no order explains; an empty list is the proof of an order."""
    keys: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    found = []
    for key, operations in keys.items():
        lists = any(each.kind in (Kind.APPEND, Kind.LIST) for each in operations)
        violation = (check_list if lists else check_register)(key, operations)
        if violation is not None:
            found.append(violation)
    return found


# ---- what both kinds share ----


def _writes(key: str, operations: Iterable[Operation]) -> dict[str, Operation]:
    """The operation that wrote or appended each value."""
    writes: dict[str, Operation] = {}
    for each in operations:
        if each.kind in WRITES:
            assert each.value is not None, f"{key}: {each} without a value"
            assert each.value not in writes, f"{key}: value {each.value} is used twice"
            writes[each.value] = each
    return writes


def _seen_unwritten(
    key: str, values: Iterable[str], by: Operation, writes: dict[str, Operation]
) -> Violation | None:
    """A value that was seen although nobody wrote it, or its write was refused."""
    for value in values:
        source = writes.get(value)
        if source is None:
            return Violation(key, f"{value!r} was seen and never written", (by,))
        if source.outcome is Outcome.FAILED:
            return Violation(key, "a write was refused, and its value was seen", (source, by))
    return None


def _bounded(operations: Iterable[Operation], seen: dict[str, float]) -> list[Operation]:
    """The operations that took effect; `seen` is the end of the first answer with each value.

    A read without an answer says nothing. A write of unknown outcome that was seen came before
    that answer; one that nobody saw can be left out, for nothing follows from it.
    """
    kept = []
    for each in operations:
        if each.outcome is Outcome.OK:
            kept.append(each)
        elif each.outcome is Outcome.UNKNOWN and each.kind in WRITES and each.value in seen:
            kept.append(replace(each, returned=seen[each.value]))
    return kept


# ---- registers ----

State = tuple[str | None, frozenset[int]]
"""The register's value, and which of the open operations have counted."""


def check_register(key: str, operations: Sequence[Operation]) -> Violation | None:
    """READ, WRITE and SWAP on a register that is None at first."""
    writes = _writes(key, operations)
    for each in operations:
        if each.outcome is Outcome.OK and (bad := _seen_unwritten(key, _shows(each), each, writes)):
            return bad
    counted = _bounded(operations, _seen_values(operations, writes))
    # At the same moment a beginning goes first: then the two overlap, and either order will do.
    events = sorted(
        [(each.began, False, number) for number, each in enumerate(counted)]
        + [(each.returned, True, number) for number, each in enumerate(counted)]
    )
    states: set[State] = {(None, frozenset())}
    pending: set[int] = set()
    for _, returns, number in events:
        if not returns:
            pending.add(number)
            continue
        after = _after_return(states, pending, number, counted)
        pending.discard(number)
        if not after:
            possible = ", ".join(sorted({repr(value) for value, _ in states}))
            reason = f"no order explains the first of these; before it the value was {possible}"
            overlapping = (counted[each] for each in sorted(pending))
            return Violation(key, reason, (counted[number], *overlapping))
        states = after
    return None


def _shows(operation: Operation) -> tuple[str, ...]:
    """The value that the operation, where it took effect, found."""
    shown = operation.value if operation.kind is Kind.READ else operation.expected
    return () if shown is None else (shown,)


def _seen_values(operations: Iterable[Operation], writes: dict[str, Operation]) -> dict[str, float]:
    """The end of the first answer that shows each value, directly or by a swap of unknown outcome
    that was seen and that replaced it."""
    seen: dict[str, float] = {}
    work = [(v, e.returned) for e in operations if e.outcome is Outcome.OK for v in _shows(e)]
    while work:
        value, bound = work.pop()
        if bound >= seen.get(value, math.inf):
            continue
        seen[value] = bound
        source = writes.get(value)
        if source is not None and source.outcome is Outcome.UNKNOWN:
            work += [(before, bound) for before in _shows(source)]
    return seen


def _after_return(
    states: set[State], pending: set[int], number: int, operations: Sequence[Operation]
) -> set[State]:
    """The states in which `number` has counted; it is no longer open, so they do not name it."""
    found: set[State] = set()
    visited = set(states)
    stack = list(states)
    while stack:
        value, counted = stack.pop()
        if number in counted:
            found.add((value, counted - {number}))
            continue
        for each in pending - counted:
            operation = operations[each]
            if operation.kind is Kind.WRITE:
                new = operation.value
            elif operation.kind is Kind.READ and operation.value == value:
                new = value
            elif operation.kind is Kind.SWAP and operation.expected == value:
                new = operation.value
            else:
                continue
            state = (new, counted | {each})
            if state not in visited:
                visited.add(state)
                stack.append(state)
    return found


# ---- lists ----


def check_list(key: str, operations: Sequence[Operation]) -> Violation | None:
    """APPEND and LIST on a list that is empty at first."""
    writes = _writes(key, operations)
    reads = [each for each in operations if each.kind is Kind.LIST and each.outcome is Outcome.OK]
    longest = max(reads, key=lambda each: len(each.elements), default=None)
    elements = longest.elements if longest is not None else ()
    place = {element: number for number, element in enumerate(elements, 1)}
    if longest is not None:
        if len(place) < len(elements):
            return Violation(key, "an element is in the list twice", (longest,))
        if bad := _seen_unwritten(key, elements, longest, writes):
            return bad
        for each in reads:
            if each.elements != elements[: len(each.elements)]:
                reason = "neither of two lists is the beginning of the other"
                return Violation(key, reason, (each, longest))
    seen: dict[str, float] = {}
    bound, shown = math.inf, len(elements)
    for read in sorted(reads, key=lambda each: -len(each.elements)):
        # What is only in longer lists than this one was first shown by one of those.
        seen |= dict.fromkeys(elements[len(read.elements) : shown], bound)
        bound, shown = min(bound, read.returned), len(read.elements)
    seen |= dict.fromkeys(elements[:shown], bound)

    def position(each: Operation) -> tuple[float, bool, float]:
        if each.kind is Kind.LIST:
            return len(each.elements), True, each.began
        # What no list shows stands behind all of them.
        return place.get(each.value or "", math.inf), False, each.began

    return _against_time(key, sorted(_bounded(operations, seen), key=position), place)


def _against_time(key: str, order: Sequence[Operation], place: dict[str, int]) -> Violation | None:
    """The first operation of the order that had returned before one in front of it began."""
    latest: Operation | None = None
    for each in order:
        if latest is not None and each.returned < latest.began:
            reason = "the first returned before the second began, and the list has them reversed"
            if each.kind is Kind.APPEND and each.value not in place:
                reason = "an acknowledged append is not in a list that was read later"
            return Violation(key, reason, (each, latest))
        if latest is None or each.began > latest.began:
            latest = each
    return None
