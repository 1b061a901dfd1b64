"""The options of Docker's local driver (`type`, `o`, `device`) as one call of mount(2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

BIND: Final = 0x1000
_REC: Final = 0x4000
_FLAGS: Final = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "sync": 0x10,
    "remount": 0x20,
    "mand": 0x40,
    "dirsync": 0x80,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "bind": BIND,
    "rbind": BIND | _REC,
    "relatime": 0x200000,
    "strictatime": 0x1000000,
    "lazytime": 0x2000000,
}
_CLEARING: Final = {"rw": 0x1, "suid": 0x2, "dev": 0x4, "exec": 0x8, "async": 0x10, "atime": 0x400}
_IGNORED: Final = frozenset({"defaults", "_netdev", "auto", "noauto", ""})


@dataclass(frozen=True, slots=True)
class MountPlan:
    """What to hand to mount(2); `data` are the options that the file system reads itself."""

    kind: str
    device: str
    flags: int
    data: tuple[str, ...]

    @property
    def host(self) -> str:
        """The `addr=` of network storage, which the kernel takes as a number only."""
        return next((each[5:] for each in self.data if each.startswith("addr=")), "")

    def at(self, address: str) -> MountPlan:
        """The plan with the address of the host that it names."""
        data = (f"addr={address}" if each.startswith("addr=") else each for each in self.data)
        return replace(self, data=tuple(data))


def mount_plan(options: Mapping[str, str]) -> MountPlan | None:
    """The mount that a volume's options ask for; None where it is a plain directory."""
    if not options.get("device") and not options.get("type"):
        return None
    flags, data = 0, []
    for option in options.get("o", "").split(","):
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option in _CLEARING:
            flags &= ~_CLEARING[option]
        elif option not in _IGNORED:
            data.append(option)
    return MountPlan(options.get("type", ""), options.get("device", ""), flags, tuple(data))
