"""Histories that one order explains, and histories that none does."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from pyswarm.testing.linearizability import Kind, Operation, Outcome, Violation, check

UNKNOWN, FAILED = Outcome.UNKNOWN, Outcome.FAILED


def op(kind: Kind, value: object, began: float, returned: float, **more: object) -> Operation:
    fields: dict[str, object] = {"elements": value} if kind is Kind.LIST else {"value": value}
    fields |= {"client": "c1", "key": "k", "began": began, "returned": returned}
    return Operation(kind=kind, **(fields | more))  # type: ignore[arg-type]


def write(value: str, began: float, returned: float, outcome: Outcome = Outcome.OK) -> Operation:
    return op(Kind.WRITE, value, began, returned, outcome=outcome)


def swap(
    expected: str | None, value: str, began: float, returned: float, outcome: Outcome = Outcome.OK
) -> Operation:
    return op(Kind.SWAP, value, began, returned, expected=expected, outcome=outcome)


def read(value: str | None, began: float, returned: float) -> Operation:
    return op(Kind.READ, value, began, returned)


def append(value: str, began: float, returned: float, outcome: Outcome = Outcome.OK) -> Operation:
    return op(Kind.APPEND, value, began, returned, outcome=outcome)


def listed(elements: str, began: float, returned: float) -> Operation:
    return op(Kind.LIST, tuple(elements), began, returned)


def refused(*history: Operation) -> Violation:
    [violation] = check(history)
    return violation


# ---- registers ----


def test_one_after_the_other() -> None:
    assert not check([read(None, 0, 1), write("a", 2, 3), read("a", 4, 5), write("b", 6, 7)])


def test_during_a_write_the_old_and_the_new_value_may_be_read() -> None:
    history = [write("a", 0, 1), write("b", 2, 9), read("a", 3, 4), read("b", 5, 6)]
    assert not check(history)


def test_a_stale_read() -> None:
    said = refused(write("a", 0, 1), write("b", 2, 3), read("a", 4, 5))
    assert said.operations[0] == read("a", 4, 5)
    assert "before it the value was 'b'" in said.reason


def test_a_read_that_goes_back_during_a_write() -> None:
    # Either value may be seen while "b" is written, but not the old one after the new one.
    refused(write("a", 0, 1), write("b", 2, 9), read("b", 3, 4), read("a", 5, 6))


def test_a_lost_write() -> None:
    refused(write("a", 0, 1), read(None, 2, 3))


def test_a_write_that_counted_twice() -> None:
    refused(
        write("a", 0, 9),
        read("a", 1, 2),
        write("b", 3, 4),
        read("b", 5, 6),
        read("a", 7, 8),
    )


def test_a_split_brain_where_each_side_reads_its_own() -> None:
    refused(
        write("a", 0, 1),
        write("b", 0, 1),
        read("a", 2, 3),
        read("b", 2, 3),
        read("a", 4, 5),
        read("b", 4, 5),
    )


def test_a_value_out_of_nowhere() -> None:
    assert "never written" in refused(read("x", 0, 1)).reason


def test_a_refused_write_that_is_seen() -> None:
    assert "refused" in refused(write("a", 0, 1, FAILED), read("a", 2, 3)).reason


def test_a_read_before_its_write() -> None:
    refused(read("a", 0, 1), write("a", 2, 3))


def test_of_two_swaps_of_the_same_value_one_succeeds() -> None:
    assert not check([write("a", 0, 1), swap("a", "b", 2, 5), swap("a", "c", 2, 5, FAILED)])
    refused(write("a", 0, 1), swap("a", "b", 2, 5), swap("a", "c", 2, 5))


def test_an_unknown_write_may_have_counted_or_not() -> None:
    assert not check([write("a", 0, 1, UNKNOWN), read(None, 2, 3)])
    assert not check([write("a", 0, 1, UNKNOWN), read("a", 2, 3)])
    assert not check([write("a", 0, 1, UNKNOWN), read(None, 2, 3), read("a", 4, 5)])


def test_an_unknown_write_does_not_go_back_either() -> None:
    refused(write("a", 0, 1, UNKNOWN), read("a", 2, 3), read(None, 4, 5))


def test_an_unknown_write_does_not_count_before_it_began() -> None:
    refused(read("a", 0, 1), write("a", 2, 3, UNKNOWN))


def test_a_swap_shows_that_the_unknown_one_before_it_counted() -> None:
    unknown = [swap(None, "a", 0, 1, UNKNOWN), swap("a", "b", 2, 3, UNKNOWN)]
    assert not check([*unknown, read("b", 4, 5)])
    assert not check([*unknown, read(None, 4, 5)])
    refused(*unknown, read("b", 4, 5), read("a", 6, 7))


def test_keys_do_not_excuse_each_other() -> None:
    other = op(Kind.READ, "a", 2, 3, key="other")
    assert [each.key for each in check([write("a", 0, 1), read("a", 2, 3), other])] == ["other"]


# ---- lists ----


def test_lists_that_grow() -> None:
    history = [append("a", 0, 1), listed("a", 2, 3), append("b", 4, 9), append("c", 4, 9)]
    assert not check([*history, listed("ac", 5, 6), listed("acb", 7, 8)])


def test_a_lost_append() -> None:
    said = refused(append("a", 0, 1), append("b", 2, 3), listed("b", 4, 5))
    assert "acknowledged append is not in a list" in said.reason


def test_an_append_need_not_be_in_a_list_of_its_time() -> None:
    assert not check([append("a", 0, 5), listed("", 1, 2), append("b", 6, 9), listed("a", 7, 8)])


def test_lists_of_a_split_brain() -> None:
    history = [append("a", 0, 1), append("b", 0, 9), append("c", 0, 9)]
    said = refused(*history, listed("ab", 4, 5), listed("ac", 4, 5))
    assert "beginning of the other" in said.reason


def test_a_list_that_gets_shorter() -> None:
    refused(append("a", 0, 1), append("b", 2, 9), listed("ab", 3, 4), listed("a", 5, 6))


def test_appends_against_their_time() -> None:
    refused(append("a", 0, 1), append("b", 2, 3), listed("ba", 4, 5))


def test_an_append_that_counted_twice() -> None:
    assert "twice" in refused(append("a", 0, 1), listed("aa", 2, 3)).reason


def test_a_refused_append_that_is_seen() -> None:
    refused(append("a", 0, 1, FAILED), listed("a", 2, 3))


def test_an_unknown_append_may_come_late_but_stays() -> None:
    unknown = append("b", 0, 1, UNKNOWN)
    assert not check([unknown, append("a", 2, 3), listed("a", 4, 5), listed("ab", 6, 7)])
    assert not check([unknown, append("a", 2, 3), listed("a", 4, 5)])
    refused(unknown, append("a", 2, 9), listed("b", 3, 4), listed("", 5, 6))


def test_an_unknown_append_counts_before_the_first_list_that_shows_it() -> None:
    # "c" began when a list without "b" could no longer be: "b" was shown before.
    history = [append("b", 0, 1, UNKNOWN), listed("b", 2, 3), append("c", 4, 5)]
    assert not check([*history, listed("bc", 6, 7)])
    refused(*history, listed("cb", 6, 7))


def test_a_list_that_knows_the_future() -> None:
    refused(listed("a", 0, 1), append("a", 2, 3))


# ---- against the definition, and against much ----


def explained(history: list[Operation]) -> bool:
    """The definition: some order of some of the unknown ones, in real time, that the register
    would have answered."""
    unknown = [each for each in history if each.outcome is UNKNOWN and each.kind is not Kind.READ]
    known = [each for each in history if each.outcome is Outcome.OK]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            if any(map(_legal, itertools.permutations([*known, *chosen]))):
                return True
    return False


def _legal(order: tuple[Operation, ...]) -> bool:
    value = None
    for number, each in enumerate(order):
        ends = [float("inf") if e.outcome is UNKNOWN else e.returned for e in order[number + 1 :]]
        if any(end < each.began for end in ends):
            return False
        if each.kind is Kind.READ and each.value != value:
            return False
        if each.kind is Kind.SWAP and each.expected != value:
            return False
        if each.kind is not Kind.READ:
            value = each.value
    return True


def some_history(random: random.Random) -> list[Operation]:
    history = []
    for number in range(random.randint(2, 5)):
        began, returned = sorted(random.sample(range(12), 2))
        seen = random.choice([None, *(str(n) for n in range(5))])
        kind = random.choice([Kind.READ, Kind.READ, Kind.WRITE, Kind.SWAP])
        history.append(
            Operation(
                client="c",
                key="k",
                kind=kind,
                value=seen if kind is Kind.READ else str(number),
                expected=seen if kind is Kind.SWAP else None,
                outcome=random.choice([Outcome.OK, Outcome.OK, UNKNOWN]),
                began=began,
                returned=returned,
            )
        )
    return history


def test_small_histories_are_judged_as_the_definition_says() -> None:
    dice = random.Random(1)
    verdicts = set()
    for _ in range(3000):
        history = some_history(dice)
        verdict = explained(history)
        verdicts.add(verdict)
        assert (not check(history)) is verdict, history
    assert verdicts == {True, False}


def busy(operations: int, clients: int, keys: int) -> list[Operation]:
    """What `clients` see of registers and lists that are right: each operation takes effect at one
    moment, and returns some time later. One write in fifty is never acknowledged."""
    dice = random.Random(2)
    values: dict[str, str | None] = {}
    lists: dict[str, tuple[str, ...]] = {}
    free = [0.0] * clients
    history = []
    for number in range(operations):
        client = min(range(clients), key=free.__getitem__)
        moment = number + 1.0  # the moments are the order
        began = min(moment, max(free[client], moment - dice.random() * clients))
        free[client] = returned = moment + dice.random() * clients
        key = str(number * keys // operations)
        kind = dice.choice([Kind.READ, Kind.WRITE, Kind.SWAP, Kind.APPEND, Kind.LIST])
        fields: dict[str, object] = {}
        if kind in (Kind.APPEND, Kind.LIST):
            key = f"list {key}"
            if kind is Kind.APPEND:
                lists[key] = (*lists.get(key, ()), str(number))
                fields = {"value": str(number)}
            else:
                fields = {"elements": lists.get(key, ())}
        elif kind is Kind.READ:
            fields = {"value": values.get(key)}
        else:
            fields = {"value": str(number)}
            if kind is Kind.SWAP:
                fields["expected"] = values.get(key)
            values[key] = str(number)
        unknown = kind not in (Kind.READ, Kind.LIST) and dice.random() < 0.02
        history.append(
            Operation(
                client=f"c{client}",
                key=key,
                kind=kind,
                began=began,
                returned=returned,
                outcome=UNKNOWN if unknown else Outcome.OK,
                **fields,  # type: ignore[arg-type]
            )
        )
    return history


@pytest.mark.slow
def test_a_hundred_thousand_operations_are_judged_in_seconds() -> None:
    history = busy(100_000, clients=8, keys=500)
    begun = time.process_time()
    assert not check(history)
    assert time.process_time() - begun < 30


@pytest.mark.parametrize("kind", [Kind.READ, Kind.LIST])
def test_one_stale_answer_among_thousands_is_found(kind: Kind) -> None:
    history = busy(5_000, clients=8, keys=10)
    last = max(n for n, each in enumerate(history) if each.kind is kind)
    stale = next(each for each in history if each.kind is kind and each.key == history[last].key)
    answer = {"value": stale.value, "elements": stale.elements}
    history[last] = Operation(
        client="c1",
        key=history[last].key,
        kind=kind,
        began=history[last].began,
        returned=history[last].returned,
        **answer,
    )
    assert [each.key for each in check(history)] == [history[last].key]
