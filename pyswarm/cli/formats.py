"""`--format` with a Go template, over what `--format json` shows, with Docker's functions. Pure."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pyswarm.cli.flags.declared import checked
from pyswarm.cli.jsonview import inspect_text, shown
from pyswarm.errors import InvalidArgument
from pyswarm.templates.evaluate import render
from pyswarm.templates.functions import FUNCTIONS
from pyswarm.templates.syntax import TemplateError, parse

WIDTH_MAX: Final = 1000


def _text(function: Callable[..., str]) -> Callable[..., str]:
    """A function of a text and more; other values are no texts."""

    def call(*values: Any) -> str:
        if not values or not isinstance(values[0], str):
            raise TypeError("the first argument must be a text")
        return function(*values)

    return call


def _pad(text: str, before: int, after: int) -> str:
    if max(before, after) > WIDTH_MAX:
        raise TemplateError(f"pad: at most {WIDTH_MAX}")
    return f"{' ' * before}{text}{' ' * after}" if text else text


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


_DOCKER: Final[Mapping[str, Callable[..., Any]]] = {
    **FUNCTIONS,
    "json": partial(json.dumps, sort_keys=True),
    "join": lambda parts, separator: separator.join(parts),
    "split": _split,
    "lower": _text(str.lower),
    "upper": _text(str.upper),
    "title": _text(str.title),
    "pad": _text(_pad),
    "truncate": _text(lambda text, length: text[:length]),
}


def template(text: str) -> str:
    """The value of `--format`; raises InvalidArgument where it can be no template."""
    parse(text)
    return text


def filled(text: str, values: Mapping[str, Any]) -> str:
    """The template for one object; raises InvalidArgument, also for a field that is not there."""
    try:
        return render(text, values, _DOCKER)
    except TemplateError as error:
        raise InvalidArgument(f"template: {error.message}") from error


def _visible(value: Any) -> Any:
    """A JSON value whose texts move no cursor: nodes and containers wrote some of them."""
    if isinstance(value, dict):
        return {key: _visible(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_visible(each) for each in value]
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def add_format(parser: ArgumentParser) -> None:
    """`--format` of an `inspect` command."""
    parser.add_argument(
        "-f",
        "--format",
        default="",
        type=checked("format", template),
        help="json, or a Go template such as '{{.Spec.Name}}' or '{{json .Spec}}'",
    )


def refuse_both(args: Namespace) -> None:
    """Raises InvalidArgument for `--pretty` and a format."""
    if args.pretty and args.format:
        raise InvalidArgument("--format is incompatible with human friendly format")


def shown_as(form: str) -> Callable[[Sequence[Any]], str]:
    """What an `inspect` command prints of its records where `form` is its `--format`."""

    def text(records: Sequence[Any]) -> str:
        found = [shown(record) for record in records]
        if form == "json":
            return json.dumps(found)
        return "\n".join(filled(form, _visible(each)) for each in found)

    return text if form else inspect_text
