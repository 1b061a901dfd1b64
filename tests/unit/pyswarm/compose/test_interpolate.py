"""Variables: the table of the compose specification, and what is not a variable."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarm.compose.interpolate import BadTemplate, evaluate, interpolate, template
from pyswarm.compose.marked import ComposeError
from pyswarm.compose.parse import parse

ENVIRON = {"SET": "value", "EMPTY": "", "B": "b"}


def fill(text, unset=lambda name: None):
    return evaluate(template(text), ENVIRON, unset)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a$SET-b", "avalue-b"),
        ("$$SET $$", "$SET $"),
        ("$$$SET", "$value"),
        ("${SET:-d}", "value"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE:-d}", "d"),
        ("${NONE-d}", "d"),
        ("${NONE:-}", ""),
        ("${SET:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${NONE+alt}", ""),
        ("${SET:?no}", "value"),
        ("${EMPTY?no}", ""),
        ("${NONE:-${B}}", "b"),
        ("${NONE:-x${NONE2:-y$B}z}", "xybz"),
        ("${SET:-${NONE:?never}}", "value"),
        ("${NONE:-http://a:8080/{x}", "http://a:8080/{x"),
        ("no variable } here {", "no variable } here {"),
    ],
)
def test_the_table_of_substitutions(text, expected):
    assert fill(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${EMPTY:?give it}", "the variable EMPTY must have a value: give it"),
        ("${NONE?}", "the variable NONE must have a value"),
        ("${NONE:?because $B}", "the variable NONE must have a value: because b"),
        ("cost $5", "a $ without a variable's name: write $$ for a plain dollar sign"),
        ("$", "a $ without a variable's name"),
        ("${}", "a $ without a variable's name"),
        ("${SET", "${SET is not closed: write ${SET}, or $$ for a dollar sign"),
        ("${SET!x}", "${SET is not closed"),
        ("${A:-" * 50 + "}" * 50, "nested deeper than 20 levels"),
    ],
)
def test_what_cannot_be_filled_says_why(text, message):
    with pytest.raises(BadTemplate) as caught:
        fill(text)
    assert str(caught.value).startswith(message) or message in str(caught.value)


@given(st.text(alphabet="${}:-?+ABSET_x1 \n", max_size=60))
def test_no_text_makes_interpolation_fail_in_another_way(text):
    with suppress(BadTemplate):
        assert isinstance(fill(text), str)


@given(st.text(max_size=60))
def test_a_text_with_doubled_dollars_comes_back_as_it_was(text):
    assert fill(text.replace("$", "$$")) == text


def test_each_unset_variable_is_warned_of_once_with_its_place():
    tree = parse("services:\n  web:\n    image: a:$TAG\n    user: $TAG", "c.yml")
    read, warnings = interpolate(tree, {})
    assert read.at("services", "web", "image").text == "a:"
    assert warnings == [
        'c.yml:3: services.web.image: The "TAG" variable is not set. Defaulting to a blank string.'
    ]


def test_every_bad_variable_is_told_at_once():
    with pytest.raises(ComposeError) as caught:
        interpolate(parse("a: $\nx-b: $\nc: ['${D:?why}']", "c.yml"), {})
    assert caught.value.problems == (
        "c.yml:1: a: a $ without a variable's name: write $$ for a plain dollar sign",
        "c.yml:3: c[0]: the variable D must have a value: why",
    )


def test_a_text_cannot_grow_without_bound():
    with pytest.raises(BadTemplate, match="grows beyond"):
        evaluate(template("$A" * 100), {"A": "x" * 100_000}, lambda name: None)
