"""Linux capabilities: Docker's default set, and what a service adds to it and drops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model.kernel import CAPABILITIES, EVERY_CAPABILITY, capability

_DEFAULT_NAMES: Final = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE
SYS_CHROOT KILL AUDIT_WRITE
"""
ALL: Final = CAPABILITIES
DEFAULT: Final = tuple(f"CAP_{name}" for name in _DEFAULT_NAMES.split())


def from_mask(mask: int) -> frozenset[str]:
    """The names of a bit mask, as in /proc/self/status."""
    return frozenset(name for number, name in enumerate(ALL) if mask >> number & 1)


def _names(words: Iterable[str]) -> set[str]:
    found = set()
    for word in words:
        try:
            found.add(capability(word))
        except ValueError:
            raise InvalidArgument(f'"{word}" is no capability: write NET_ADMIN, or ALL') from None
    return found


def resolve(
    add: Iterable[str], drop: Iterable[str], possible: frozenset[str] | None
) -> tuple[str, ...]:
    """The container's capabilities; `possible` is what this machine can give (None: not known).

    ALL adds what is possible; a capability by name that is not possible is refused.
    """
    added, dropped = _names(add), _names(drop)
    kept = set() if EVERY_CAPABILITY in dropped else set(DEFAULT) - dropped
    if EVERY_CAPABILITY in added:
        kept |= set(ALL if possible is None else possible) - dropped
    named = added - {EVERY_CAPABILITY}
    if possible is not None and (lacking := sorted(named - possible)):
        raise FailedPrecondition(
            f"this node cannot give a container {lacking[0]}: the daemon itself does not have it"
        )
    kept |= named
    order = (*DEFAULT, *(name for name in ALL if name not in DEFAULT))
    return tuple(name for name in order if name in kept and (possible is None or name in possible))
