"""A mapping in parts is a mapping, and what it was before a change it stays."""

from hypothesis import given
from hypothesis import strategies as st

from manager.state.parts import Parts

keys = st.integers(0, 2000)
changes = st.lists(st.tuples(st.booleans(), keys, st.integers()), max_size=60)


def place(key):
    return key >> 8


def same(parts, expected):
    assert len(parts) == len(expected)
    assert bool(parts) is bool(expected)
    assert dict(parts) == expected
    for key in (*expected, 0, 1000, 5000):
        assert (key in parts) is (key in expected)
        assert parts.get(key) == expected.get(key)
        assert parts.get(key, "none") == expected.get(key, "none")


@given(changes)
def test_each_change_makes_another_mapping_and_leaves_the_last_one_as_it_was(changes):
    parts, expected, history = Parts(place), {}, []
    for sets, key, value in changes:
        history.append((parts, dict(expected)))
        if sets:
            parts, expected[key] = parts.set(key, value), value
        elif key in expected:
            parts = parts.delete(key)
            del expected[key]
    for then, expected_then in [*history, (parts, expected)]:
        same(then, expected_then)


@given(st.dictionaries(keys, st.integers()), st.dictionaries(keys, st.integers()))
def test_many_changes_at_once_are_seen_while_they_are_made(before, come):
    parts = Parts(place)
    for key, value in before.items():
        parts = parts.set(key, value)
    changing, expected = parts.mutate(), dict(before)
    for key, value in come.items():
        changing[key] = expected[key] = value
        assert changing[key] == changing.get(key) == value
    assert len(changing) == len(expected)
    assert dict(changing) == expected
    same(changing.finish(), expected)
    same(parts, before)


def test_what_is_not_there_cannot_be_deleted_or_read():
    parts = Parts(place).set(1, "one")
    for key in (2, 1000):
        for ask in (parts.delete, parts.__getitem__, parts.mutate().__getitem__):
            try:
                ask(key)
            except KeyError:
                continue
            raise AssertionError(f"{key} is not there")
