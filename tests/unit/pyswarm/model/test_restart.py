"""How long a restart waits, and when there is none."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pyswarm.model import Meta, RestartCondition, RestartPolicy, Task, TaskState, TaskStatus
from pyswarm.model.restart import (
    COMPLETED_SECONDS_MAX,
    FAILED_SECONDS_MAX,
    delay_seconds,
    is_given_up,
    quick_ends_after,
    restart_at,
)


def ended(at, state=TaskState.FAILED, *, made=0.0, quick=0, version=1):
    return Task(
        meta=Meta(created_at=made),
        node_id="n",
        spec_version=version,
        quick_ends=quick,
        status=TaskStatus(state=state, timestamp=at),
    )


def delays(policy, failed):
    return [delay_seconds(policy, n, failed=failed) for n in range(10)]


def test_the_delay_doubles_after_three_restarts_up_to_a_minute():
    assert delays(RestartPolicy(), True) == [5, 5, 5, 5, 10, 20, 40, 60, 60, 60]
    assert delays(RestartPolicy(delay_seconds=0.0), True)[3:] == [0, 1, 2, 4, 8, 16, 32]


def test_what_ends_well_waits_no_longer_than_the_default():
    assert set(delays(RestartPolicy(), False)) == {5}
    assert delays(RestartPolicy(delay_seconds=0.0), False)[3:] == [0, 1, 2, 4, 5, 5, 5]


@given(st.floats(0, 1e6), st.integers(0, 10**6), st.booleans())
def test_a_delay_is_bounded_never_below_the_policys_and_never_shrinks(delay, count, failed):
    policy = RestartPolicy(delay_seconds=delay)
    most = FAILED_SECONDS_MAX if failed else COMPLETED_SECONDS_MAX
    found = [delay_seconds(policy, n, failed=failed) for n in (count, count + 1)]
    assert all(delay <= d <= max(delay, most) for d in found)
    assert all(a <= b for a, b in pairwise(found))


def test_a_task_that_has_lasted_a_while_begins_the_count_anew():
    assert quick_ends_after(ended(59.0, quick=4)) == 5
    assert quick_ends_after(ended(61.0, quick=4)) == 0


def test_attempts_count_over_the_life_of_a_spec_or_within_the_window():
    history = [ended(float(at)) for at in (10, 20, 30)]
    policy = RestartPolicy(max_attempts=2, delay_seconds=1)
    assert restart_at(policy, history[1], history[:2]) == 21
    assert restart_at(policy, history[2], history) is None
    windowed = RestartPolicy(max_attempts=2, window_seconds=15, delay_seconds=1)
    assert restart_at(windowed, history[2], history) == 31
    other = [ended(10.0, version=9), ended(20.0, version=9), history[2]]
    assert restart_at(policy, history[2], other) == 31


def test_the_condition_decides_what_is_restarted():
    well, badly = ended(1.0, TaskState.COMPLETE), ended(1.0)
    for condition, expected in (
        (RestartCondition.NONE, (True, True)),
        (RestartCondition.ON_FAILURE, (True, False)),
        (RestartCondition.ANY, (False, False)),
    ):
        policy = RestartPolicy(condition=condition)
        assert (is_given_up(policy, [well]), is_given_up(policy, [badly])) == expected
