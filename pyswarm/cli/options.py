"""What listing commands share: `-q`, `-f/--filter`, `--format`, `--no-trunc`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from pyswarm.api.v1 import control_pb2
from pyswarm.errors import InvalidArgument


def add_list_options(parser: ArgumentParser, truncates: bool = True) -> None:
    """The options of an `ls` or `ps` command."""
    parser.add_argument("-q", "--quiet", action="store_true", help="Only display IDs")
    parser.add_argument(
        "-f", "--filter", action="append", default=[], help="Filter output (key=value)"
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="table, or one JSON a line"
    )
    if truncates:
        parser.add_argument("--no-trunc", action="store_true", help="Do not truncate output")


def add_template(parser: ArgumentParser) -> None:
    """Let `--format` take a template as well."""
    [action] = [a for a in parser._actions if a.dest == "format"]
    action.choices = None
    action.help = "table, json, or a template such as '{{.ID}}: {{.Hostname}}' or 'table {{.ID}}'"


def filters(args: Namespace, known: Mapping[str, str]) -> control_pb2.Filters:
    """The request's filters; `known` maps a word of `--filter` to its field."""
    fields: dict[str, list[str]] = {}
    for text in args.filter:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f'invalid argument "{text}" for "--filter": use key=value')
        if key not in known:
            words = ", ".join(sorted(known))
            raise InvalidArgument(f"invalid filter '{key}', use one of {words}")
        fields.setdefault(known[key], []).append(value)
    return control_pb2.Filters(**fields)
