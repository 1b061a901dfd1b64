"""Reads compose files and the files that they name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyswarm.compose import dotenv
from pyswarm.compose.context import ENV_FILE_BYTES_MAX, Context, NeededFile, needed_files
from pyswarm.compose.convert import convert
from pyswarm.compose.document import Document, read
from pyswarm.compose.marked import ComposeError
from pyswarm.compose.parse import FILE_BYTES_MAX
from pyswarm.compose.stack import Stack, check_name, name_from_folder

ComposeFile = Path | Literal["-"]
"""A file, or standard input."""


@dataclass(frozen=True, slots=True)
class LoadedStack:
    """A stack with the warnings that the user should see before it is deployed."""

    stack: Stack
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """The merged files, the folder to which their paths are relative, and all variables."""

    document: Document
    folder: Path
    environ: Mapping[str, str]


def load_document(files: Sequence[ComposeFile], environ: Mapping[str, str]) -> LoadedDocument:
    """The files merged, nothing else read (`stack config`); raises ComposeError.

    Variables come from `environ` first, then from `.env` beside the first file.
    """
    if not files:
        raise ComposeError("no compose file is given: name one with -c")
    folder = Path.cwd() if files[0] == "-" else Path(files[0]).absolute().parent
    # A variable that is not UTF-8 cannot be in a specification, so it is as good as not set.
    own = {name: value for name, value in environ.items() if _is_text(value)}
    variables = {**_dotenv(folder, own), **own}
    texts = [(_shown(file), _text(file)) for file in files]
    return LoadedDocument(read(texts, variables), folder, variables)


def load(files: Sequence[ComposeFile], name: str | None, environ: Mapping[str, str]) -> LoadedStack:
    """The stack that the files describe; raises ComposeError, each problem with its place.

    Its name is the argument, or the files' `name:`, or that of the first file's folder.
    """
    loaded = load_document(files, environ)
    tree = loaded.document.tree
    stack_name = name or tree.at("name").text or name_from_folder(loaded.folder.name)
    if not stack_name:
        raise ComposeError(f"the folder {loaded.folder} gives the stack no name: give it one")
    context = Context(
        stack=check_name(stack_name),
        folder=str(loaded.folder),
        environ=loaded.environ,
        files=_contents(needed_files(tree, str(loaded.folder), loaded.environ)),
    )
    stack = convert(tree, context)
    return LoadedStack(stack, (*loaded.document.warnings, *context.warnings))


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _shown(file: ComposeFile) -> str:
    return "standard input" if file == "-" else str(file)


def _text(file: ComposeFile) -> str:
    if file == "-":
        data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        data = _bytes(Path(file), FILE_BYTES_MAX, f"the compose file {file}")
    if len(data) > FILE_BYTES_MAX:
        raise ComposeError(f"{_shown(file)} is larger than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ComposeError(f"{_shown(file)}:{line}: not UTF-8 text") from error


def _bytes(path: Path, bytes_max: int, what: str) -> bytes:
    """The content, at most one byte more than allowed; raises ComposeError with one sentence."""
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except FileNotFoundError as error:
        raise ComposeError(f"{what} does not exist") from error
    except OSError as error:
        raise ComposeError(f"{what} cannot be read: {error.strerror}") from error


def _dotenv(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    path = folder / ".env"
    if not path.is_file():
        return {}
    data = _bytes(path, ENV_FILE_BYTES_MAX, str(path))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ComposeError(f"{path} is not UTF-8 text") from error
    found = dotenv.read(text, str(path), environ)
    return {name: value for name, value in found.items() if value is not None}


def _contents(needed: Sequence[NeededFile]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    problems = []
    for file in needed:
        path = Path(file.path)
        if file.path in contents or (not file.required and not path.exists()):
            continue
        try:
            data = _bytes(path, file.bytes_max, f"the file {file.path}")
        except ComposeError as error:
            problems.append(file.named_by.problem(error.message))
            continue
        if len(data) > file.bytes_max:
            sentence = f"the file {file.path} is larger than {file.bytes_max} bytes"
            problems.append(file.named_by.problem(sentence))
        contents[file.path] = data
    if problems:
        raise ComposeError(*problems)
    return contents
