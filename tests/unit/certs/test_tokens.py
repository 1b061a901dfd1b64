"""Tokens are made, taken apart and compared."""

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.tokens import Token, new_token, parse_token, root_digest, same_token
from pyswarm.errors import InvalidArgument

DIGEST = root_digest(b"a certificate")


def test_a_token_carries_the_digest_of_the_root_and_a_secret():
    token = new_token(DIGEST, bytes(range(17)))
    assert token.startswith(f"SWMTKN-1-{DIGEST}-")
    assert len(token) == len("SWMTKN-1-") + 50 + 1 + 25


def test_the_digest_is_sha_256_in_base_36():
    assert int(DIGEST, 36) == int.from_bytes(sha256(b"a certificate").digest(), "big")


@given(st.binary(min_size=17, max_size=17))
def test_parsing_gives_back_what_was_made(secret):
    token = new_token(DIGEST, secret)
    parsed = parse_token(f" {token}\n")
    assert parsed.digest == DIGEST
    assert str(parsed) == token


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "begins with SWMTKN-"),
        ("SWMKEY-1-abc", "begins with SWMTKN-"),
        ("SWMTKN", "version 1"),
        ("SWMTKN-2-1-a-b", "version 1"),
        (f"SWMTKN-1-{DIGEST}", "has 4 parts, and this has 3"),
        (f"SWMTKN-1-{DIGEST[1:]}-{'a' * 25}", "third part is damaged"),
        (f"SWMTKN-1-{DIGEST[1:]}A-{'a' * 25}", "third part is damaged"),
        (f"SWMTKN-1-{DIGEST}-{'a' * 24}", "last part is damaged"),
    ],
)
def test_a_broken_token_is_refused_in_words(text, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        parse_token(text)


@given(st.text(max_size=120))
def test_no_text_raises_anything_else(text):
    with suppress(InvalidArgument):
        assert str(parse_token(text)) == text.strip()


def test_the_secret_is_not_in_a_log():
    secret = "b" * 25
    assert secret not in repr(Token(DIGEST, secret))
    with pytest.raises(InvalidArgument) as caught:
        parse_token(f"SWMTKN-1-{DIGEST}-{secret}x")
    assert secret not in str(caught.value)


def test_an_empty_token_equals_nothing():
    assert same_token("a", "a")
    assert not same_token("a", "b")
    assert not same_token("", "")
    assert not same_token("ä", "a")
