"""Tables, ages, sizes, as Docker prints them."""

import json

import pytest

from pyswarm.cli.render import (
    Listing,
    Row,
    ago,
    clean,
    human_duration,
    human_size,
    natural_key,
    short_id,
    table,
)


def test_columns_are_three_spaces_apart_and_at_least_ten_wide():
    assert table(("ID", "A LONG HEADER", "X"), [("1", "b", ""), ("12345678", "c", "d")]) == (
        "ID         A LONG HEADER   X\n1          b\n12345678   c               d"
    )
    assert table(("ID", "X"), []) == "ID        X"


def test_what_a_container_wrote_cannot_move_the_cursor():
    assert clean("a\x1b[2Jb\nc\td") == "a\N{REPLACEMENT CHARACTER}[2Jb c d"
    assert "\x1b" not in table(("ID",), [("\x1b[31m",)])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (59 * 60, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_have_one_unit(seconds, text):
    assert human_duration(seconds) == text


def test_an_age_needs_a_beginning():
    assert ago(100.0, 400.0) == "5 minutes ago"
    assert ago(0.0, 400.0) == ""


def test_sizes_have_four_digits():
    sizes = [0, 1023, 1536, 1024**3 * 5, 1024**6 * 3]
    assert [human_size(s) for s in sizes] == ["0B", "1023B", "1.5KiB", "5GiB", "3072PiB"]


def test_names_sort_by_their_numbers():
    names = ["web.10", "web.2", "web", "api.1", "10", "9", "x²"]
    assert sorted(names, key=natural_key) == ["api.1", "web", "web.2", "web.10", "x²", "9", "10"]


def test_ids_are_cut_to_twelve():
    assert short_id("a" * 25) == "a" * 12


def test_a_listing_in_its_three_forms():
    listing = Listing(("ID", "NAME"), (Row("1", ("1 *", "n"), {"Name": "n", "Self": True}),))
    assert listing.text() == "ID        NAME\n1 *       n"
    assert json.loads(listing.text("json")) == {"Name": "n", "Self": True}
    assert listing.text("json", quiet=True) == "1"
    assert Listing(("ID",), ()).text(quiet=True) == ""
