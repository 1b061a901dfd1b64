"""An unlock key as people read, copy and mistype it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.unlock import Lock, WrongUnlockKey, format_unlock_key, parse_unlock_key

KEY = bytes(range(32))
TEXT = "SWMKEY-1-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_the_form_is_that_of_docker():
    assert format_unlock_key(KEY) == TEXT
    assert format_unlock_key(b"") == ""
    assert parse_unlock_key(f" {TEXT}\n") == KEY


@given(st.binary(min_size=32, max_size=32))
def test_every_key_comes_back(key):
    assert parse_unlock_key(format_unlock_key(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SWMKEY-1-",
        TEXT[:-1],
        TEXT + "A",
        TEXT[9:],
        TEXT.replace("-1-", "-2-"),
        "SWMKEY-1-é",
        "x",
    ],
)
def test_anything_else_gets_one_sentence(text):
    with pytest.raises(
        WrongUnlockKey, match=r"^swarm could not be unlocked: invalid key provided$"
    ):
        parse_unlock_key(text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text):
    with pytest.raises(WrongUnlockKey):
        parse_unlock_key(text)


def test_the_key_is_not_in_a_log():
    assert repr(Lock(KEY, 7)) == "Lock(version=7)"
