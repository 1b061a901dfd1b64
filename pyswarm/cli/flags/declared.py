"""What the themes share: how a flag is declared, read, and put into a record."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeVar

from pyswarm.cli.pairs import key_values
from pyswarm.compose.values import duration_seconds, nano_cpus, size_bytes
from pyswarm.errors import InvalidArgument

Item = TypeVar("Item")
Record = TypeVar("Record")


def typed(read: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """A reader for argparse whose error names what was expected."""

    def parse(text: str) -> Any:
        return read(text)

    parse.__name__ = what
    return parse


def checked(flag: str, read: Callable[[str], Any], keeps: bool = False) -> Callable[[str], Any]:
    """`read` with Docker's sentence for what it cannot read; `keeps` answers the text itself."""

    def parse(text: str) -> Any:
        try:
            value = read(text)
        except InvalidArgument as error:
            said = error.message
        except ValueError:
            said = f"this is no {getattr(read, '__name__', 'value')}"
        else:
            return text if keeps else value
        raise ArgumentTypeError(f'invalid argument "{text}" for "--{flag}" flag: {said}')

    return parse


def is_whole(text: str) -> bool:
    """Whether this is a whole number that the managers can store."""
    return text.isascii() and text.isdecimal() and len(text) < 19


def whole(least: int = 0) -> Callable[[str], int]:
    """A reader of whole numbers from `least` on."""

    def read(text: str) -> int:
        number = int(text) if is_whole(text.removeprefix("-")) else None
        if number is None or number < least:
            raise InvalidArgument(f"use a whole number from {least} on")
        return number

    return read


def member_of(members: Iterable[Enum]) -> Callable[[str], Any]:
    """A reader of these members of an enum by their words, such as `start-first`."""
    words = {member.name.lower().replace("_", "-"): member for member in members}

    def read(text: str) -> Any:
        if text not in words:
            raise InvalidArgument(f"use one of {', '.join(words)}")
        return words[text]

    return read


BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "T", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "F", "0"), False),
}


def _boolean(text: str) -> bool:
    if text not in BOOLEANS:
        raise ValueError(text)
    return BOOLEANS[text]


DURATION = typed(duration_seconds, "duration")
SIZE = typed(size_bytes, "size")
CPUS = typed(nano_cpus, "cpus")
SWITCH = typed(_boolean, "true/false")


@dataclass(frozen=True, slots=True)
class Single:
    """A flag with one value, the same in create and update; `read` None takes the text."""

    name: str
    read: Callable[[str], Any] | None
    help: str
    short: str | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """A flag that is true where it stands alone."""

    name: str
    help: str
    short: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A flag that may be repeated; in update it is `--X-add` and `--X-rm`, unless `edited` is
    false: then it is `--X` there too."""

    name: str
    short: str | None
    help: str
    edited: bool = True
    read: Callable[[str], Any] | None = field(default=None, kw_only=True)
    """Raises InvalidArgument for a wrong value."""
    read_removed: Callable[[str], Any] | None = field(default=None, kw_only=True)
    """The same for `--X-rm`."""


def _names(flag: Single | Switch | Listed) -> list[str]:
    return [*([flag.short] if flag.short else []), f"--{flag.name}"]


def add_single(parser: ArgumentParser, flags: Iterable[Single]) -> None:
    """Declare flags with one value."""
    for flag in flags:
        options: dict[str, Any] = {"help": flag.help}
        if flag.read is not None:
            options["type"] = checked(flag.name, flag.read)
        parser.add_argument(*_names(flag), **options)


def add_switches(parser: ArgumentParser, flags: Iterable[Switch]) -> None:
    """Declare switches."""
    for flag in flags:
        options: dict[str, Any] = {"dest": flag.name.replace("-", "_"), "action": "store_const"}
        parser.add_argument(*_names(flag), const=True, help=flag.help, **options)
        # argparse would take the word after the flag for its value; Docker does not.
        for word, value in BOOLEANS.items():
            parser.add_argument(f"--{flag.name}={word}", const=value, help=SUPPRESS, **options)


def add_lists(parser: ArgumentParser, flags: Iterable[Listed]) -> None:
    """Declare the repeatable flags of `service create`."""
    for flag in flags:
        _add_list(parser, flag.name, flag.read, flag.help, *_names(flag))


def add_list_edits(parser: ArgumentParser, flags: Iterable[Listed]) -> None:
    """Declare the repeatable flags of `service update`."""
    for flag in flags:
        if not flag.edited:
            _add_list(parser, flag.name, flag.read, flag.help, f"--{flag.name}")
            continue
        added, removed = f"{flag.name}-add", f"{flag.name}-rm"
        _add_list(parser, added, flag.read, flag.help, f"--{added}")
        _add_list(
            parser, removed, flag.read_removed, f"Remove: {flag.help.lower()}", f"--{removed}"
        )


def _add_list(
    parser: ArgumentParser,
    name: str,
    read: Callable[[str], Any] | None,
    text: str,
    *names: str,
) -> None:
    options: dict[str, Any] = {"action": "append", "default": [], "help": text}
    if read is not None:
        options["type"] = checked(name, read, keeps=True)
    parser.add_argument(*names, **options)


def with_given(record: Record, args: Namespace, flags: Mapping[str, str]) -> Record:
    """`record` with each field replaced whose flag was given; `flags` is field -> flag."""
    given = {
        field: value
        for field, flag in flags.items()
        if (value := getattr(args, flag.replace("-", "_"))) is not None
    }
    return replace(record, **given)  # type: ignore[type-var]


def edited(
    args: Namespace,
    name: str,
    old: Iterable[Item],
    read: Callable[[str], Item],
    key: Callable[[Item], Any],
    removed: Callable[[str], Any] = lambda text: text,
) -> tuple[Item, ...]:
    """A list after `--X` (create), or `--X-add` and `--X-rm` (update); a later item of the same
    key takes the place of an earlier one."""
    attribute = name.replace("-", "_")
    gone = {removed(text) for text in getattr(args, attribute + "_rm", [])}
    items = {key(item): item for item in old if key(item) not in gone}
    for text in [*getattr(args, attribute + "_add", []), *(getattr(args, attribute, None) or [])]:
        item = read(text)
        items[key(item)] = item
    return tuple(items.values())


def edited_map(args: Namespace, name: str, old: Mapping[str, str]) -> dict[str, str]:
    """The same for `key=value`."""
    pairs = edited(args, name, old.items(), lambda t: key_values(t), lambda pair: pair[0])
    return dict(pairs)


def same(text: str) -> str:
    """An item that is its own text and its own key."""
    return text
