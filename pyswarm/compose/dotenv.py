"""Files of NAME=value lines: `.env` beside the compose file, and a service's `env_file`.

Single quotes keep everything, double quotes know backslashes and variables, bare values know
variables and end at ` #`. Quoted values may span lines (compose specification, "env_file").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pyswarm.compose.interpolate import BadTemplate, evaluate, template
from pyswarm.compose.marked import ComposeError, Place

_LINE: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.\-]*)[ \t]*(=?)[ \t]*")
_BLANK: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|$)")
_SINGLE: Final = re.compile(r"'([^']*)'[ \t]*(?:#[^\n]*)?(?:\n|$)")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#[^\n]*)?(?:\n|$)', re.DOTALL)
_BARE: Final = re.compile(r"([^\n]*)(?:\n|$)")
_COMMENT: Final = re.compile(r"(?:^|[ \t]+)#.*$")
_LONE_DOLLAR: Final = re.compile(r"(?<!\$)\$(?![A-Za-z_{$])")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "$": "$$"}


def read(
    text: str, file: str, environ: Mapping[str, str], *, raw: bool = False
) -> dict[str, str | None]:
    """The variables in order; None for a name without `=`, which means: as in the environment.

    Values may use `environ` and earlier lines. `raw` takes each value as it is written.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str | None] = {}
    known: dict[str, str] = dict(environ)
    at, line_number = 0, 1
    while at < len(text):
        start = at
        if blank := _BLANK.match(text, at):
            at = blank.end()
        else:
            at = _line(text, at, Place(file, line_number), found, known, raw)
        line_number += text.count("\n", start, at)
    return found


def _line(
    text: str,
    at: int,
    place: Place,
    found: dict[str, str | None],
    known: dict[str, str],
    raw: bool,
) -> int:
    """Reads one variable into `found` and answers where the next line begins."""
    line = _LINE.match(text, at)
    if not line or (not line[2] and not _BLANK.match(text, line.end())):
        raise ComposeError(f"{place}: not of the form NAME=value")
    name = line[1]
    if not line[2]:
        found[name] = None
        return line.end()
    value, at = _value(text, line.end(), place, known, raw)
    found[name] = value
    known.setdefault(name, value)
    return at


def _value(
    text: str, at: int, place: Place, environ: Mapping[str, str], raw: bool
) -> tuple[str, int]:
    bare = _BARE.match(text, at)
    assert bare, "the rest of a line always matches"
    if raw:
        return bare[1], bare.end()
    if single := _SINGLE.match(text, at):
        return single[1], single.end()
    if double := _DOUBLE.match(text, at):
        unescaped = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), double[1])
        return _expand(unescaped, place, environ), double.end()
    if text[at : at + 1] in ("'", '"'):
        raise ComposeError(f"{place}: the quote is not closed, or more follows it")
    return _expand(_COMMENT.sub("", bare[1]).strip(), place, environ), bare.end()


def _expand(text: str, place: Place, environ: Mapping[str, str]) -> str:
    # Passwords hold dollar signs: here, unlike in a compose file, a lone one is only itself.
    text = _LONE_DOLLAR.sub("$$", text)
    try:
        return evaluate(template(text), environ, lambda _name: None)
    except BadTemplate as error:
        raise ComposeError(f"{place}: {error}") from error
