"""Variables in text: $V ${V} ${V:-default} ${V-default} ${V:?error} ${V?error} ${V:+alt} ${V+alt}.

`$$` is a dollar sign. Defaults, alternatives and error texts may hold variables again; only the
branch that is used is evaluated, so that an unused `:?` stays quiet (compose specification,
chapter "Interpolation").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pyswarm.compose.marked import ComposeError, Marked, Value

DEPTH_MAX: Final = 20
TEXT_LENGTH_MAX: Final = 1024 * 1024

_NAME: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATOR: Final = re.compile(r":[-?+]|[-?+]")


class BadTemplate(ValueError):
    """The text is not a template, or a variable that it needs has no value."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference; `operator` is empty or one of `:- - :? ? :+ +`, `rest` what follows it."""

    name: str
    operator: str = ""
    rest: tuple[Part, ...] = ()


Part = str | Variable
Unset = Callable[[str], None]
"""Told the name of each variable that has no value and no default."""


def template(text: str) -> tuple[Part, ...]:
    """The parts of a text; raises `BadTemplate`."""
    parts, end = _parts(text, 0, 0)
    assert end == len(text), f"stopped at {end} of {len(text)}"
    return parts


def _parts(text: str, start: int, depth: int) -> tuple[tuple[Part, ...], int]:
    """Parts up to the end of the text, or at depth > 0 up to the brace that closes it."""
    if depth > DEPTH_MAX:
        raise BadTemplate(f"variables are nested deeper than {DEPTH_MAX} levels")
    parts: list[Part] = []
    at = literal = start
    while at < len(text) and not (depth and text[at] == "}"):
        if text[at] != "$":
            at += 1
            continue
        parts.append(text[literal:at])
        if text.startswith("$$", at):
            parts.append("$")
            at += 2
        elif text.startswith("${", at):
            variable, at = _braced(text, at + 2, depth)
            parts.append(variable)
        else:
            name = _name(text, at + 1)
            parts.append(Variable(name))
            at += 1 + len(name)
        literal = at
    parts.append(text[literal:at])
    return tuple(part for part in parts if part != ""), at


def _name(text: str, at: int) -> str:
    match = _NAME.match(text, at)
    if not match:
        raise BadTemplate("a $ without a variable's name: write $$ for a plain dollar sign")
    return match[0]


def _braced(text: str, at: int, depth: int) -> tuple[Variable, int]:
    name = _name(text, at)
    at += len(name)
    operator = _OPERATOR.match(text, at)
    rest: tuple[Part, ...] = ()
    if operator:
        rest, at = _parts(text, operator.end(), depth + 1)
    if not text.startswith("}", at):
        raise BadTemplate(f"${{{name} is not closed: write ${{{name}}}, or $$ for a dollar sign")
    return Variable(name, operator[0] if operator else "", rest), at + 1


def evaluate(parts: tuple[Part, ...], environ: Mapping[str, str], unset: Unset) -> str:
    """The text with its variables replaced; raises `BadTemplate`."""
    texts: list[str] = []
    length = 0
    for part in parts:
        texts.append(part if isinstance(part, str) else _value(part, environ, unset))
        length += len(texts[-1])
        if length > TEXT_LENGTH_MAX:
            raise BadTemplate(f"the text grows beyond {TEXT_LENGTH_MAX} characters")
    return "".join(texts)


def _value(variable: Variable, environ: Mapping[str, str], unset: Unset) -> str:
    value = environ.get(variable.name)
    present = value is not None and (value != "" or not variable.operator.startswith(":"))
    kind = variable.operator[-1:]
    if kind == "+":
        return evaluate(variable.rest, environ, unset) if present else ""
    if present:
        return value or ""
    if kind == "-":
        return evaluate(variable.rest, environ, unset)
    if kind == "?":
        why = evaluate(variable.rest, environ, unset)
        raise BadTemplate(
            f"the variable {variable.name} must have a value" + (f": {why}" if why else "")
        )
    unset(variable.name)
    return ""


def interpolate(tree: Marked, environ: Mapping[str, str]) -> tuple[Marked, list[str]]:
    """The file with its variables replaced, and a warning for each that has no value.

    Keys stay as they are, and so do top-level extensions (`x-`), which nobody reads.
    """
    problems: list[str] = []
    warnings: dict[str, str] = {}

    def scalar(item: Marked, text: str) -> Value:
        def unset(name: str) -> None:
            sentence = f'The "{name}" variable is not set. Defaulting to a blank string.'
            warnings.setdefault(name, item.problem(sentence))

        try:
            return evaluate(template(text), environ, unset)
        except BadTemplate as error:
            problems.append(item.problem(str(error)))
            return text

    def walk(item: Marked) -> Marked:
        if isinstance(item.value, dict):
            return item.put({key: walk(entry) for key, entry in item.value.items()})
        if isinstance(item.value, list):
            return item.put([walk(entry) for entry in item.value])
        if isinstance(item.value, str) and "$" in item.value:
            return item.put(scalar(item, item.value))
        return item

    entries = tree.entries.items()
    read = tree.put({k: v if k.startswith("x-") else walk(v) for k, v in entries})
    if problems:
        raise ComposeError(*problems)
    return read, list(warnings.values())
