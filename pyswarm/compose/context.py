"""What a conversion needs beside the files, and the names and paths that follow from it."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.compose.marked import ComposeError, Marked
from pyswarm.compose.stack import NAMESPACE_LABEL
from pyswarm.model.payload import CONFIG_BYTES_MAX, SECRET_BYTES_MAX

ENV_FILE_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class NeededFile:
    """A file that the compose files name: absolute path, who names it, bytes at most."""

    path: str
    named_by: Marked
    bytes_max: int
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The stack's name, the first file's folder (absolute), the environment, the named files."""

    stack: str
    folder: str
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    warnings: list[str] = field(default_factory=list)

    def warn(self, item: Marked, sentence: str) -> None:
        """Keep a warning for the user."""
        self.warnings.append(item.problem(sentence))

    def labels(self, own: Marked) -> dict[str, str]:
        """The labels of an object of the stack."""
        return {**own.text_entries, NAMESPACE_LABEL: self.stack}

    def scoped(self, key: str, declaration: Marked) -> str:
        """The real name of a declared object: its own where it has one, else STACK_key.

        The old form `external: {name: NAME}` names it as well.
        """
        named = declaration.at("name").text or declaration.at("external", "name").text
        if named:
            return named
        return key if is_external(declaration) else f"{self.stack}_{key}"

    def absolute(self, path: str) -> str:
        """A path of the compose file as an absolute one."""
        return absolute(path, self.folder, self.environ)


def absolute(path: str, folder: str, environ: Mapping[str, str]) -> str:
    """`~` is the user's home, anything else is relative to the folder."""
    if path == "~" or path.startswith("~/"):
        path = posixpath.join(environ.get("HOME", "/"), path[2:])
    return posixpath.normpath(posixpath.join(folder, path))


def is_external(declaration: Marked) -> bool:
    """Whether the object is made outside of the stack."""
    external = declaration.at("external")
    return external.flag or bool(external.entries)


def undefined(item: Marked, kind: str, name: str, known: Iterable[str]) -> ComposeError:
    """A service uses what the file does not declare."""
    close = difflib.get_close_matches(name[:64], sorted(known), 1)
    hint = f"did you mean {close[0]}?" if close else f"declare it under {kind}s at the top level"
    return item.error(f"the {kind} '{name}' is not declared: {hint}")


def needed_files(tree: Marked, folder: str, environ: Mapping[str, str]) -> list[NeededFile]:
    """Every file that must be read before the conversion, in a fixed order."""
    needed = []
    for section, bytes_max in (("secrets", SECRET_BYTES_MAX), ("configs", CONFIG_BYTES_MAX)):
        for declaration in tree.at(section).entries.values():
            item = declaration.at("file")
            if item.text and not is_external(declaration):
                needed.append(NeededFile(absolute(item.text, folder, environ), item, bytes_max))
    for service in tree.at("services").entries.values():
        for entry in service.at("env_file").items:
            path = absolute(entry.at("path").text, folder, environ)
            required = entry.at("required").value is not False
            needed.append(NeededFile(path, entry, ENV_FILE_BYTES_MAX, required))
    return needed
