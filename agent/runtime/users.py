"""Users and groups by the image's own /etc/passwd and /etc/group, as Docker and runc do it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pyswarm.errors import InvalidArgument

_ID_MAX: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the process runs as; `additional` holds the primary group too, sorted."""

    uid: int
    gid: int
    additional: tuple[int, ...]


def _entries(text: str, fields: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) >= fields and parts[0] and not line.startswith("#"):
            yield parts


def _number(text: str, what: str) -> int:
    number = int(text)
    if number > _ID_MAX:
        raise InvalidArgument(f"{what} {text} is too large: ids end at {_ID_MAX}")
    return number


def _group(name: str, group: str) -> int:
    for parts in _entries(group, 3):
        if name in (parts[0], parts[2]) and parts[2].isdecimal():
            return _number(parts[2], "group")
    if name.isdecimal():
        return _number(name, "group")
    raise InvalidArgument(f'the image has no group "{name}" in its /etc/group')


def resolve(user: str, groups: Iterable[str], passwd: str, group: str) -> Identity:
    """`user` is `name`, `uid`, either with `:group`, or empty for root.

    Without a group it is the user's own, with all groups that list the user; with one it is only
    that. Raises InvalidArgument for a name that the image does not have.
    """
    name, colon, primary = user.partition(":")
    name = name or "0"
    found = next((p for p in _entries(passwd, 4) if name in (p[0], p[2])), None)
    if found is not None and found[2].isdecimal():
        name, uid = found[0], _number(found[2], "user")
        gid = _number(found[3], "group") if found[3].isdecimal() else 0
    elif name.isdecimal():
        uid, gid = _number(name, "user"), 0
    else:
        raise InvalidArgument(f'the image has no user "{name}" in its /etc/passwd')
    additional = set()
    if colon and primary:
        gid = _group(primary, group)
    else:
        for parts in _entries(group, 4):
            if name in parts[3].split(",") and parts[2].isdecimal():
                additional.add(_number(parts[2], "group"))
    additional |= {_group(each, group) for each in groups} | {gid}
    return Identity(uid, gid, tuple(sorted(additional)))
