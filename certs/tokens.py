"""Join tokens: what lets a stranger in, and what lets the stranger know the swarm.

`SWMTKN-1-<digest>-<secret>`, as in Docker Swarm: 50 digits of base 36 with the SHA-256 of the root
certificate, by which the joiner checks the swarm before it says anything, and 25 digits with a
secret, by which the swarm checks the joiner. There is one secret for each role.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model.ids import ID_LENGTH, base36, encode_id, is_id

DIGEST_LENGTH: Final = 50
_PREFIX: Final = "SWMTKN"
_VERSION: Final = "1"
_ADVICE: Final = "copy it again from `pyswarm swarm join-token`"


@dataclass(frozen=True, slots=True)
class Token:
    """A join token taken apart."""

    digest: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{_PREFIX}-{_VERSION}-{self.digest}-{self.secret}"


def root_digest(certificate_der: bytes) -> str:
    """The digest that tokens carry, of a root certificate in DER."""
    return base36(int.from_bytes(sha256(certificate_der).digest(), "big"), DIGEST_LENGTH)


def new_token(digest: str, random_bytes: bytes) -> str:
    """A token for the root of that digest, from at least `ids.ID_BYTES` random bytes."""
    assert len(digest) == DIGEST_LENGTH, f"a digest has {DIGEST_LENGTH} digits, not {len(digest)}"
    return str(Token(digest, encode_id(random_bytes)))


def parse_token(text: str) -> Token:
    """Take a token apart; `InvalidArgument` says what is wrong and never repeats the secret."""
    parts = text.strip().split("-")
    if parts[0] != _PREFIX:
        raise InvalidArgument(f"a join token begins with {_PREFIX}-, and this does not: {_ADVICE}")
    if len(parts) < 2 or parts[1] != _VERSION:
        raise InvalidArgument(f"only join tokens of version {_VERSION} are known: {_ADVICE}")
    if len(parts) != 4:
        raise InvalidArgument(f"a join token has 4 parts, and this has {len(parts)}: {_ADVICE}")
    digest, secret = parts[2:]
    halves = digest[:ID_LENGTH], digest[ID_LENGTH:]
    if not all(is_id(half) for half in halves):
        raise InvalidArgument(f"the join token's third part is damaged: {_ADVICE}")
    if not is_id(secret):
        raise InvalidArgument(f"the join token's last part is damaged: {_ADVICE}")
    return Token(digest, secret)


def same_token(shown: str, expected: str) -> bool:
    """Whether two tokens are equal, in a time that does not depend on where they differ."""
    return bool(expected) and hmac.compare_digest(shown.encode(), expected.encode())
