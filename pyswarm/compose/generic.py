"""Generic resources as a user writes them: `GPU=2` of a service, `GPU=UUID1` of a node."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import GenericResource

COUNT_MAX: Final = 2**31 - 1
_KIND: Final = re.compile(r"[A-Za-z0-9][\w.\-]{0,62}")
_VALUE: Final = re.compile(r"[\w.:\-/]{1,255}")


def _pair(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument(f"invalid generic-resource format `{text}` expected `name=value`")
    if not _KIND.fullmatch(kind) or not _VALUE.fullmatch(value):
        raise InvalidArgument(
            f"invalid generic resource specification `{text}`: a name is of letters, digits, . _ -"
        )
    return kind, value


def _count(text: str, value: str) -> int:
    number = int(value) if value.isdecimal() and len(value) < 11 else COUNT_MAX + 1
    if number > COUNT_MAX:
        raise InvalidArgument(f"invalid generic resource specification `{text}`: too many")
    return number


def requested(text: str) -> GenericResource:
    """What a service asks for, `KIND=COUNT`; raises InvalidArgument in Docker's words."""
    kind, value = _pair(text)
    if not value.isdecimal():
        raise InvalidArgument(
            f"invalid generic-resource request `{text}`, Named Generic Resources is not supported "
            "for service create or update"
        )
    if not int(value[:11]):
        raise InvalidArgument(f"invalid generic-resource request `{text}`: ask for 1 or more")
    return GenericResource(kind=kind, count=_count(text, value))


def offered(texts: Iterable[str]) -> tuple[GenericResource, ...]:
    """What a node has: `KIND=COUNT` once, or `KIND=NAME` for each piece; raises InvalidArgument."""
    found: dict[str, list[GenericResource]] = {}
    for text in texts:
        kind, value = _pair(text)
        if value.isdecimal():
            piece = GenericResource(kind=kind, count=_count(text, value))
        else:
            piece = GenericResource(kind=kind, value=value)
        others = found.setdefault(kind, [])
        if others and not (piece.value and others[0].value):
            raise InvalidArgument(
                f"generic resource {kind} is given as a number and again: give one number, or a "
                "name for each piece"
            )
        if piece in others:
            raise InvalidArgument(f"generic resource {text} is given twice")
        others.append(piece)
    return tuple(piece for pieces in found.values() for piece in pieces)
