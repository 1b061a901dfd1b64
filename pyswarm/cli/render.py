"""Text for people: tables, ages, sizes, short ids, in the forms of Docker's command line. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyswarm.cli.formats import filled

SHORT_ID_LENGTH: Final = 12

_PADDING: Final = 3
_CELL_WIDTH_MIN: Final = 10
_DIGITS: Final = re.compile(r"(\d+)")
_FIELD: Final = re.compile(r"\.(\w+)")
_ESCAPE: Final = re.compile(r"\{\{.*?\}\}|\\[tn]", re.DOTALL)
"""What stands for a tab or a line break outside of actions, which have their own."""
_SIZE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def clean(text: str) -> str:
    """The text without control characters: what a container or a node wrote must not move the
    cursor of whoever looks at it, nor break a table."""
    spaced = text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    return spaced if spaced.isprintable() else "".join(_visible(char) for char in spaced)


def _visible(char: str) -> str:
    return char if char.isprintable() else "\N{REPLACEMENT CHARACTER}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns with three spaces between them and at least ten wide, lines without a tail."""
    lines = [list(headers), *([clean(cell) for cell in row] for row in rows)]
    assert all(len(line) == len(headers) for line in lines), f"a row is not of {headers}"
    widths = [
        max(max(len(line[index]) for line in lines) + _PADDING, _CELL_WIDTH_MIN)
        for index in range(len(headers))
    ]
    padded = (
        "".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def natural_key(text: str) -> tuple[tuple[int, str, int], ...]:
    """A sorting key under which web.2 comes before web.10."""
    parts = _DIGITS.split(text)
    return tuple((1, "", int(p)) if p.isdecimal() else (0, p, 0) for p in parts if p)


def short_id(object_id: str) -> str:
    """The first twelve characters."""
    return object_id[:SHORT_ID_LENGTH]


def human_duration(seconds: float) -> str:
    """A duration in one unit: "5 minutes", "About an hour" (go-units' HumanDuration)."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return _count(int(seconds), "second")
    minutes = int(seconds / 60)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 14:
        return f"{hours // 24} days"
    if hours < 24 * 60:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600 / 24 / 365)} years"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def go_duration(seconds: float) -> str:
    """A duration as Go prints it: "10m0s", "1.5s", "250ms"."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{round(rest, 6):g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def ago(then: float, now: float) -> str:
    """How long since `then`, both in seconds since the epoch; empty where `then` is 0."""
    return f"{human_duration(now - then)} ago" if then else ""


def human_size(size_bytes: int) -> str:
    """Four digits and a unit: "1.5GiB" (go-units' BytesSize)."""
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_SIZE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.4g}{_SIZE_UNITS[unit]}"


def title(word: str) -> str:
    """An enum's name as Docker prints it: "Running"."""
    return word.replace("_", "-").capitalize()


@dataclass(frozen=True, slots=True)
class Row:
    """One object: the cells of the table, what `--quiet` prints, and the values of JSON."""

    quiet: str
    cells: tuple[str, ...]
    values: Mapping[str, str | bool]


@dataclass(frozen=True, slots=True)
class Listing:
    """What an `ls` or `ps` command shows."""

    headers: tuple[str, ...]
    rows: tuple[Row, ...]

    def text(self, form: str = "table", *, quiet: bool = False) -> str:
        """The listing as a table, as JSON (one object in each line), or only as ids."""
        if quiet:
            return "\n".join(row.quiet for row in self.rows)
        if form == "json":
            return "\n".join(json.dumps(row.values, sort_keys=True) for row in self.rows)
        if form != "table":
            return self._templated(form)
        return table(self.headers, [row.cells for row in self.rows])

    def _templated(self, form: str) -> str:
        wide = form.startswith("table ")
        text = _ESCAPE.sub(_unescaped, form.removeprefix("table "))
        lines = [filled(text, _clean(row.values)) for row in self.rows]
        if not wide:
            return "\n".join(lines)
        names = set(_FIELD.findall(text)).union(*(row.values for row in self.rows[:1]))
        headers = filled(text, {name: _heading(name) for name in names}).split("\t")
        return table(headers, [line.split("\t") for line in lines])


def _unescaped(match: re.Match[str]) -> str:
    return {"\\t": "\t", "\\n": "\n"}.get(match[0], match[0])


def _clean(values: Mapping[str, str | bool]) -> dict[str, str | bool]:
    return {key: clean(each) if isinstance(each, str) else each for key, each in values.items()}


def _heading(name: str) -> str:
    """`ManagerStatus` -> `MANAGER STATUS`, `TLSStatus` -> `TLS STATUS`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).upper()
