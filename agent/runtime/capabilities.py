"""Linux capabilities: Docker's default set, and what a service adds to it and drops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyswarm.errors import FailedPrecondition, InvalidArgument

_NAMES: Final = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
_DEFAULT_NAMES: Final = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE
SYS_CHROOT KILL AUDIT_WRITE
"""
# capabilities(7), in the order of their numbers.
ALL: Final = tuple(f"CAP_{name}" for name in _NAMES.split())
DEFAULT: Final = tuple(f"CAP_{name}" for name in _DEFAULT_NAMES.split())
_EVERY: Final = "ALL"


def from_mask(mask: int) -> frozenset[str]:
    """The names of a bit mask, as in /proc/self/status."""
    return frozenset(name for number, name in enumerate(ALL) if mask >> number & 1)


def _names(words: Iterable[str]) -> set[str]:
    found = set()
    for word in words:
        name = word.upper()
        if name not in (_EVERY, "CAP_ALL"):
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            if name not in ALL:
                raise InvalidArgument(f'"{word}" is no capability: write NET_ADMIN, or ALL')
            found.add(name)
        else:
            found.add(_EVERY)
    return found


def resolve(
    add: Iterable[str], drop: Iterable[str], possible: frozenset[str] | None
) -> tuple[str, ...]:
    """The container's capabilities; `possible` is what this machine can give (None: not known).

    ALL adds what is possible; a capability by name that is not possible is refused.
    """
    added, dropped = _names(add), _names(drop)
    kept = set() if _EVERY in dropped else set(DEFAULT) - dropped
    if _EVERY in added:
        kept |= set(ALL if possible is None else possible) - dropped
    named = added - {_EVERY}
    if possible is not None and (lacking := sorted(named - possible)):
        raise FailedPrecondition(
            f"this node cannot give a container {lacking[0]}: the daemon itself does not have it"
        )
    kept |= named
    order = (*DEFAULT, *(name for name in ALL if name not in DEFAULT))
    return tuple(name for name in order if name in kept and (possible is None or name in possible))
