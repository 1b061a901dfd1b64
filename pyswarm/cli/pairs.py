"""The small languages of flag values: `key=value`, and `source=x,target=y`. Pure."""

from __future__ import annotations

import csv
from collections.abc import Collection

from pyswarm.errors import InvalidArgument
from pyswarm.model import FileReference, Follow

_BARE = {"readonly", "ro", "volume-nocopy", "bind-nonrecursive"}


def key_values(text: str) -> tuple[str, str]:
    """`key=value`, or `key` with an empty value."""
    key, _, value = text.partition("=")
    if not key:
        raise InvalidArgument(f"'{text}' is not of the form key=value")
    return key, value


def split_fields(
    text: str, known: Collection[str], what: str, repeated: Collection[str] = ()
) -> dict[str, list[str]]:
    """The fields of `a=b,c=d`; a comma inside quotes belongs to its value."""
    fields: dict[str, list[str]] = {}
    for part in parts(text, what):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if key not in known:
            raise InvalidArgument(
                f"unexpected key '{key}' in '{part}', use one of {', '.join(sorted(known))}"
            )
        if not equals and key not in _BARE:
            raise InvalidArgument(f"invalid field '{part}' must be a key=value pair")
        if key in fields and key not in repeated:
            raise InvalidArgument(f"{key} stands twice")
        fields.setdefault(key, []).append(value if equals else "true")
    return fields


def parts(text: str, what: str) -> list[str]:
    """The parts of `a,b,c`; a comma inside quotes belongs to its part."""
    if any(char in text for char in "\n\r\0"):
        raise InvalidArgument(f"a {what} is one line")
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidArgument(f"{what} '{text}': {error}") from None


def file_reference(text: str) -> FileReference:
    """`name`, or `source=name,target=path,uid=0,gid=0,mode=0444`."""
    if "=" not in text:
        return FileReference(name=text, target=text)
    known = {"source", "src", "target", "uid", "gid", "mode", "rotation", "signal"}
    fields = {key: values[0] for key, values in split_fields(text, known, "secret").items()}
    name = fields.get("source", fields.get("src", ""))
    if not name:
        raise InvalidArgument(f"'{text}' needs source=NAME")
    try:
        mode = int(fields.get("mode", "0444"), 8)
    except ValueError as error:
        raise InvalidArgument(f"'{text}': mode must be octal, such as 0440") from error
    return FileReference(
        name=name,
        target=fields.get("target", name),
        uid=fields.get("uid", "0"),
        gid=fields.get("gid", "0"),
        mode=mode,
        follow=_follow(fields.get("rotation", ""), text),
        signal=fields.get("signal", ""),
    )


def _follow(word: str, whole: str) -> Follow:
    words = {"": Follow.AS_ROTATED, **{f.name.lower(): f for f in Follow if f}}
    if word not in words:
        raise InvalidArgument(f"'{whole}': rotation must be update, live or never")
    return words[word]
