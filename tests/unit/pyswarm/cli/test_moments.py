"""Points in time in every form that Docker takes."""

import time

import pytest

from pyswarm.cli.moments import local_text, moment, nano_text
from pyswarm.errors import InvalidArgument

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def zone(monkeypatch):
    monkeypatch.setenv("TZ", "Etc/GMT-2")  # POSIX: two hours east of Greenwich
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("42m", NOW - 42 * 60),
        ("1h30m", NOW - 90 * 60),
        ("0s", NOW),
        ("-10s", None),
        ("1700000000", 1_700_000_000.0),
        ("1700000000.25", 1_700_000_000.25),
        ("0", 0.0),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20.250000000Z", 1_700_000_000.25),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000.0),
        ("2023-11-15T00:13:20", 1_700_000_000.0),
        ("2023-11-15T00:13", 1_699_999_980.0),
        ("2023-11-15", 1_699_999_200.0),
        ("yesterday", None),
        ("", None),
        ("2023-13-01", None),
        ("10 m", None),
    ],
)
def test_a_moment(text, seconds):
    if seconds is None:
        with pytest.raises(InvalidArgument, match="as a time"):
            moment(text, NOW)
    else:
        assert moment(text, NOW) == seconds


def test_times_are_written_as_docker_does():
    assert nano_text(1_700_000_000.25) == "2023-11-14T22:13:20.250000000Z"
    assert local_text(1_700_000_000.25) == "2023-11-15T00:13:20.250000000+02:00"
