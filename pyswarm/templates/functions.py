"""The functions of a template: Go's own, and `join` of Swarm."""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pyswarm.templates.syntax import TemplateError

WIDTH_MAX: Final = 1000
_VERB: Final = re.compile(
    r"%(?P<flags>[-+ 0#]*)(?P<width>\d{0,4})(?:\.(?P<cut>\d{1,4}))?(?P<verb>.)"
)


def shown(value: Any) -> str:
    """A value as a template writes it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = " ".join(f"{key}:{shown(value[key])}" for key in sorted(value))
        return f"map[{inner}]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(shown(each) for each in value)}]"
    return str(value)


def is_true(value: Any) -> bool:
    """Whether a value counts as true: not zero, not empty."""
    return bool(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                raise TemplateError(f"index: {shown(key)} is no key")
            # The zero value of a map of texts, as in Go.
            value = value.get(key, "")
        elif isinstance(value, list | tuple) and type(key) is int:
            if not 0 <= key < len(value):
                raise TemplateError(f"index: {key} is out of range")
            value = value[key]
        else:
            raise TemplateError(f"index: {shown(value)[:40]} has no elements")
    return value


def _len(value: Any) -> int:
    if not isinstance(value, str | Mapping | Sequence):
        raise TemplateError(f"len: {shown(value)} has no length")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _print(*values: Any) -> str:
    """Spaces stand between two values of which neither is a text."""
    text = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            text += " "
        text += shown(value)
    return text


def _println(*values: Any) -> str:
    return " ".join(shown(value) for value in values) + "\n"


def _printf(form: Any, *values: Any) -> str:
    if not isinstance(form, str):
        raise TemplateError("printf: the first argument is a format")
    left = list(values)

    def fill(match: re.Match[str]) -> str:
        if match["verb"] == "%":
            return "%"
        if not left:
            raise TemplateError(f"printf: there is no value for {match[0]}")
        width = int(match["width"] or 0)
        if width > WIDTH_MAX:
            raise TemplateError(f"printf: {match[0]} is wider than {WIDTH_MAX}")
        text = _formatted(left.pop(0), match)
        if "-" in match["flags"]:
            return text.ljust(width)
        is_number = match["verb"] in "dxX"
        return text.zfill(width) if "0" in match["flags"] and is_number else text.rjust(width)

    filled = _VERB.sub(fill, form)
    if left:
        raise TemplateError(f"printf: {form!r} has no place for {shown(left[0])[:40]}")
    return filled


def _formatted(value: Any, match: re.Match[str]) -> str:
    verb = match["verb"]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if verb == "d" and is_number:
        return f"{value:+d}" if "+" in match["flags"] else str(value)
    if verb in "xX" and (is_number or isinstance(value, str)):
        text = f"{value:x}" if is_number else str(value).encode().hex()
        return text.upper() if verb == "X" else text
    if verb == "t" and isinstance(value, bool):
        return shown(value)
    if verb == "q" and isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if verb == "v" or (verb == "s" and not is_number):
        text = shown(value)
        return text if match["cut"] is None else text[: int(match["cut"])]
    raise TemplateError(f"printf: {match[0]} does not fit {shown(value)[:40]}")


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("eq: there is nothing to compare with")
    return any(_same(first, other) for other in others)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        raise TemplateError(f"{shown(one)[:40]} and {shown(other)[:40]} cannot be compared")
    return bool(one == other)


def _less(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or not isinstance(one, str | int) or isinstance(one, bool):
        raise TemplateError(f"{shown(one)[:40]} and {shown(other)[:40]} have no order")
    return bool(one < other)


def _and(*values: Any) -> Any:
    return next((value for value in values if not is_true(value)), values[-1] if values else None)


def _or(*values: Any) -> Any:
    return next((value for value in values if is_true(value)), values[-1] if values else None)


def _join(separator: Any, *parts: Any) -> str:
    if not all(isinstance(each, str) for each in (separator, *parts)):
        raise TemplateError("join: takes a separator and texts")
    return str(separator).join(parts)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "and": _and,
    "or": _or,
    "not": lambda value: not is_true(value),
    "eq": _equal,
    "ne": lambda one, other: not _same(one, other),
    "lt": _less,
    "le": lambda one, other: not _less(other, one),
    "gt": lambda one, other: _less(other, one),
    "ge": lambda one, other: not _less(one, other),
    "index": _index,
    "len": _len,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "html": lambda *values: html.escape(_print(*values)),
    "urlquery": lambda *values: urllib.parse.quote_plus(_print(*values)),
    "join": _join,
}
