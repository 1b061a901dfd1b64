"""How a command is declared: a parser, and a coroutine that gets the connection."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from pyswarm.cli.connection import Connection

Run = Callable[[Namespace, Connection], Awaitable[int]]
# argparse keeps this name to itself.
Parsers: TypeAlias = "_SubParsersAction[ArgumentParser]"


def group(parsers: Parsers, name: str, text: str) -> Parsers:
    """A command with sub-commands; alone it prints its help."""
    parser: ArgumentParser = parsers.add_parser(name, help=text, description=text)
    parser.set_defaults(help_of=parser)
    return parser.add_subparsers(metavar="COMMAND", title="Commands")


def command(parsers: Parsers, name: str, text: str, run: Run, **options: Any) -> ArgumentParser:
    """A command that needs the daemon; returns its parser for the options."""
    parser: ArgumentParser = parsers.add_parser(name, help=text, description=text, **options)
    parser.set_defaults(run=run, help_of=None)
    return parser
