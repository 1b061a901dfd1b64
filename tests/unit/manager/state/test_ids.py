"""A set of ids, small or large, changes as a set does, and the one before stays as it was."""

from hypothesis import given
from hypothesis import strategies as st

from manager.state.ids import FEW, Ids, exchanged


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), max_size=8))
def test_a_set_of_ids_is_what_a_plain_set_would_be(steps):
    ids: Ids = ()
    model: set[str] = set()
    for start, count in steps:
        each = {f"t{number}" for number in range(start, start + count)}
        gone, come = each & model, each - model
        before, was = ids, set(ids)
        ids = exchanged(ids, gone, sorted(come))
        model = (model - gone) | come
        assert len(ids) == len(model)
        assert set(ids) == model
        assert set(before) == was


def test_a_large_set_that_was_built_at_once_stays_plain_until_it_changes():
    ids = tuple(f"t{number}" for number in range(FEW + 10))
    less = exchanged(ids, {"t3"}, ())
    assert not isinstance(less, tuple)
    assert set(less) == set(ids) - {"t3"}
