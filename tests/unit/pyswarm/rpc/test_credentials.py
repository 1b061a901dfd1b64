"""A certificate out of its time is named before anybody dials."""

import pytest

from pyswarm.errors import FailedPrecondition
from pyswarm.testing.trust import Trust

NOW = 1_800_000_000.0
TRUST = Trust(now=NOW)


def test_a_valid_certificate_passes():
    credentials = TRUST.node("n1", life_seconds=100)
    credentials.check_time(NOW)
    assert credentials.validity == (NOW - 3600, NOW + 100)


def test_the_sentence_says_which_end_and_both_times():
    expired = TRUST.node("n1", life_seconds=100, age_seconds=200)
    with pytest.raises(FailedPrecondition) as caught:
        expired.check_time(NOW)
    assert "expired at 2027-01-15 07:58:20 UTC" in caught.value.message
    assert "clock says 2027-01-15 08:00:00 UTC" in caught.value.message
    future = TRUST.node("n1", age_seconds=-7200)
    with pytest.raises(FailedPrecondition, match="not valid before 2027-01-15 09:00:00 UTC"):
        future.check_time(NOW)
