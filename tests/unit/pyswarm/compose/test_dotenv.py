"""Files of variables."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarm.compose.dotenv import read
from pyswarm.compose.marked import ComposeError


def test_quotes_comments_and_exports_as_in_a_shell():
    text = (
        "# comment\n\nA=1\nexport B = two words  # note\nC='single $A # kept'\n"
        'D="double $A\\n\\$A"\nE=\nF=a#b\r\nG="over\nlines"\nH=$A-${X:-x}\nI\n'
    )
    assert read(text, ".env", {}) == {
        "A": "1",
        "B": "two words",
        "C": "single $A # kept",
        "D": "double 1\n$A",
        "E": "",
        "F": "a#b",
        "G": "over\nlines",
        "H": "1-x",
        "I": None,
    }


def test_the_environment_wins_over_earlier_lines():
    assert read("A=1\nB=$A", ".env", {"A": "9"})["B"] == "9"


def test_a_password_keeps_its_dollar_signs():
    assert read("P=a$1$b$$c$", ".env", {}) == {"P": "a$1$c$"}


def test_raw_values_are_taken_as_they_are_written():
    assert read("A='x' $B # c", "e", {}, raw=True) == {"A": "'x' $B # c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nnot a line\n", ".env:2: not of the form NAME=value"),
        ('A=1\nG="x\ny"\nB="open\n', ".env:4: the quote is not closed, or more follows it"),
        ("A=${B:?need}", ".env:1: the variable B must have a value: need"),
        ("=x", ".env:1: not of the form NAME=value"),
    ],
)
def test_a_bad_line_is_named(text, message):
    with pytest.raises(ComposeError) as caught:
        read(text, ".env", {})
    assert caught.value.message == message


@given(st.text(alphabet="AB='\"\\$#{}: \n\t\rx", max_size=80))
def test_no_text_breaks_the_reader(text):
    with suppress(ComposeError):
        read(text, ".env", {"A": "1"})
