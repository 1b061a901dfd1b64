"""What listing commands share: `-q`, `-f/--filter`, `--format`, `--no-trunc`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Final

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.flags.declared import checked
from pyswarm.cli.formats import template
from pyswarm.errors import InvalidArgument


def _pair(text: str) -> None:
    if "=" not in text:
        raise InvalidArgument("use key=value")


FILTER: Final = checked("filter", _pair, keeps=True)
"""The type of a flag `--filter`, which answers the text."""


def add_list_options(parser: ArgumentParser, truncates: bool = True) -> None:
    """The options of an `ls` or `ps` command."""
    parser.add_argument("-q", "--quiet", action="store_true", help="Only display IDs")
    parser.add_argument(
        *("-f", "--filter"),
        action="append",
        default=[],
        type=FILTER,
        help="Filter output (key=value)",
    )
    add_form(parser)
    if truncates:
        parser.add_argument("--no-trunc", action="store_true", help="Do not truncate output")


def add_form(parser: ArgumentParser) -> None:
    """`--format` of a command that shows a `Listing`."""
    parser.add_argument(
        "--format",
        default="table",
        type=checked("format", _form),
        help="table, json, or a template such as '{{.ID}}: {{.Name}}' or 'table {{.ID}}'",
    )


def _form(text: str) -> str:
    if "{{" not in text and text not in ("table", "json"):
        raise InvalidArgument("use table, json, or a template that names fields")
    return template(text)


def filters(args: Namespace, known: Mapping[str, str]) -> control_pb2.Filters:
    """The request's filters; `known` maps a word of `--filter` to its field."""
    fields: dict[str, list[str]] = {}
    for text in args.filter:
        key, _, value = text.partition("=")
        if key not in known:
            words = ", ".join(sorted(known))
            raise InvalidArgument(f"invalid filter '{key}', use one of {words}")
        fields.setdefault(known[key], []).append(value)
    return control_pb2.Filters(**fields)
