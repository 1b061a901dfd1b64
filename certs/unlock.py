"""The unlock key of a swarm with autolock, as people see it: `SWMKEY-1-` and 32 bytes in base64."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

from certs.seal import KEY_BYTES
from pyswarm.errors import FailedPrecondition, InvalidArgument

PREFIX: Final = "SWMKEY-1-"


class Locked(FailedPrecondition):
    """The node's keys are sealed, and whoever reads them has to bring the unlock key."""


class WrongUnlockKey(InvalidArgument):
    """The key is not the one that this node's keys were sealed with, or none at all."""

    def __init__(self, hint: str = "") -> None:
        super().__init__(f"swarm could not be unlocked: invalid key provided{hint}")


@dataclass(frozen=True, slots=True)
class Lock:
    """What seals a manager's keys: `key` has 32 bytes, or none where nothing is locked.

    `version` is that of the cluster record that brought it. A manager that replays its log sees
    older records again, and must not go back to their keys.
    """

    key: bytes = field(default=b"", repr=False)
    version: int = 0


OPEN: Final = Lock()
"""Keys in the clear, and no record that has asked for anything else."""


def format_unlock_key(key: bytes) -> str:
    """The key for people; empty where there is none."""
    return PREFIX + base64.b64encode(key).decode().rstrip("=") if key else ""


def parse_unlock_key(text: str) -> bytes:
    """The reverse of `format_unlock_key` for what somebody typed; raises WrongUnlockKey."""
    text = text.strip()
    try:
        encoded = text.removeprefix(PREFIX).encode("ascii")
        key = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise WrongUnlockKey from None
    if not text.startswith(PREFIX) or len(key) != KEY_BYTES:
        raise WrongUnlockKey
    return key
