"""Durations, sizes, numbers."""

import pytest

from pyswarm.compose.values import (
    COUNT,
    FLAG,
    MODE,
    RATIO,
    duration_seconds,
    nano_cpus,
    size_bytes,
    whole_number,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("100us", 0.0001),
        ("0", 0.0),
        ("1d", 86400.0),
        (".5s", 0.5),
        ("1h2m3s4ms", 3723.004),
    ],
)
def test_durations_are_read_as_by_go(text, seconds):
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "1x", "-1s", "1s ", "s", "1m 30s", "9" * 20 + "h"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match=r"^"):
        duration_seconds(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("512M", 512 << 20),
        ("512mb", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("64 k", 64 << 10),
        ("10b", 10),
    ],
)
def test_sizes_are_multiples_of_1024(text, size):
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1 0", "1.5.5M", "9" * 20 + "P"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=r"^"):
        size_bytes(text)


def test_whole_numbers_know_octal_and_hexadecimal():
    numbers = ["0440", "0o440", "288", "0x120", "0", "-1", "00"]
    assert [whole_number(n) for n in numbers] == [288, 288, 288, 288, 0, -1, 0]


@pytest.mark.parametrize("text", ["", "08", "1.0", "three", "1_000", "٣", "9" * 5000])
def test_what_is_no_whole_number(text):
    with pytest.raises(ValueError, match=r"^"):
        whole_number(text)


def test_cores_are_counted_in_billionths():
    assert nano_cpus("0.5") == 500_000_000
    assert nano_cpus("1e-3") == 1_000_000
    for text in ("", "nan", "inf", "-1", "1e99"):
        with pytest.raises(ValueError, match=r"^"):
            nano_cpus(text)


@pytest.mark.parametrize(
    ("kind", "text"), [(COUNT, "-1"), (COUNT, "9" * 15), (RATIO, "1.1"), (MODE, "10000")]
)
def test_numbers_have_bounds(kind, text):
    with pytest.raises(ValueError, match=r"^"):
        kind.read(text)


def test_flags_are_read_in_all_the_words_that_yaml_had():
    assert [FLAG.read(t) for t in ("true", "Yes", "on", "1")] == [True] * 4
    assert [FLAG.read(t) for t in ("False", "no", "off", "0")] == [False] * 4
