"""A YAML value that knows where it was written, and the error that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyswarm.errors import InvalidArgument

PROBLEMS_SHOWN_MAX: Final = 20


class ComposeError(InvalidArgument):
    """What is wrong with the compose files: `problems` holds one sentence each.

    The message shows them in lines, so that one run tells everything there is to correct.
    """

    def __init__(self, *problems: str) -> None:
        assert problems, "an error needs a problem"
        shown = list(problems[:PROBLEMS_SHOWN_MAX])
        if len(problems) > PROBLEMS_SHOWN_MAX:
            shown.append(f"... and {len(problems) - PROBLEMS_SHOWN_MAX} more")
        super().__init__("\n".join(shown))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Place:
    """A line (from 1) of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


Scalar = str | int | float | bool | None
Value = Scalar | dict[str, "Marked"] | list["Marked"]


@dataclass(frozen=True, slots=True)
class Marked:
    """A value with its place and its path ("services.web.ports[0]").

    The place of a mapping's entry is that of its key. Out of the parser each scalar is text or
    None; the schema makes numbers and flags of those that have to be. `tag` is "!reset",
    "!override" or empty. Contents are never changed in place.
    """

    value: Value
    place: Place
    path: str = ""
    tag: str = ""

    def problem(self, sentence: str) -> str:
        """The sentence with file, line and path before it."""
        return (
            f"{self.place}: {self.path}: {sentence}" if self.path else f"{self.place}: {sentence}"
        )

    def error(self, sentence: str) -> ComposeError:
        """One problem as an error."""
        return ComposeError(self.problem(sentence))

    def child_path(self, key: str | int) -> str:
        """The path of an entry or item."""
        if isinstance(key, int):
            return f"{self.path}[{key}]"
        return f"{self.path}.{key}" if self.path else key

    def put(self, value: Value) -> Marked:
        """Another value in the same place."""
        return Marked(value, self.place, self.path, self.tag)

    def make(self, key: str, value: Value) -> Marked:
        """A value for an entry of this mapping that the file writes in another form."""
        return Marked(value, self.place, self.child_path(key))

    def at(self, *keys: str) -> Marked:
        """The entry under the keys; a null in the nearest place where there is none."""
        here = self
        for key in keys:
            found = here.entries.get(key)
            here = found if found is not None else here.make(key, None)
        return here

    @property
    def absent(self) -> bool:
        """Whether there is nothing, or an explicit null."""
        return self.value is None

    @property
    def entries(self) -> dict[str, Marked]:
        """The entries of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Marked]:
        """The items of a list; empty for anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str:
        """A scalar as text; empty for anything else."""
        return "" if self.value is None or isinstance(self.value, dict | list) else str(self.value)

    @property
    def texts(self) -> tuple[str, ...]:
        """The scalars of a list."""
        return tuple(item.text for item in self.items)

    @property
    def text_entries(self) -> dict[str, str]:
        """The scalars of a mapping."""
        return {key: item.text for key, item in self.entries.items()}

    @property
    def flag(self) -> bool:
        """A flag that the schema has read; False where there is none."""
        return self.value is True

    def whole(self, default: int = 0) -> int:
        """A whole number that the schema has read, or the default."""
        return self.value if isinstance(self.value, int) else default

    def number(self, default: float = 0.0) -> float:
        """A number that the schema has read, or the default."""
        return float(self.value) if isinstance(self.value, int | float) else default
