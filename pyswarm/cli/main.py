"""The command `pyswarm`: reads the words, calls the daemon, answers with an exit code.

Exit codes: 0 done, 1 refused or failed, 125 the command line itself is wrong (as in Docker),
130 ended by Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from argparse import Namespace
from typing import Any, Final, NoReturn

from pyswarm import __version__
from pyswarm.cli import (
    events,
    inspecting,
    network,
    node,
    payload,
    programs,
    registry,
    service,
    stack,
    swarm,
    system,
    task,
    top,
    usage,
    volume,
)
from pyswarm.cli.connection import Connection, socket_path
from pyswarm.cli.flags.declared import BOOLEANS
from pyswarm.daemon import settings
from pyswarm.errors import InvalidArgument, SwarmError
from pyswarm.lab import commands as lab

USAGE_CODE = 125
_WAITING = "Operation continuing in background: look at 'pyswarm service ls' and 'service ps'."
_NUMBERS: Final[dict[Any, str]] = {int: "whole number", float: "number"}
_ARGUMENT: Final = r"argument (?:-\w/)?(\S+)"
_WORDS: Final = {
    r"^the following arguments are required: ": "requires ",
    rf"^{_ARGUMENT}: ignored explicit argument '(.*)'$": r'invalid argument "\2" for "\1" flag: '
    "it has no value",
    rf"^{_ARGUMENT}: not allowed with {_ARGUMENT}$": r"\1 may not be combined with \2",
}
"""What argparse says by itself, and what a user of Docker reads."""


def _invalid(action: argparse.Action, text: str, why: str) -> argparse.ArgumentError:
    name = (
        f'"{max(action.option_strings, key=len)}" flag' if action.option_strings else action.metavar
    )
    return argparse.ArgumentError(None, f'invalid argument "{text}" for {name}: {why}')


class _Parser(argparse.ArgumentParser):
    """argparse with Docker's exit code and words, and without guessing at shortened flags."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """A flag that wants a value takes the next word, also where that begins with a dash."""
        words = sys.argv[1:] if args is None else args
        found, unknown = super().parse_known_args(self._joined(list(words)), namespace)
        if unknown:
            flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            self.error(
                f"unknown flag: {flags[0]}" if flags else f"accepts no argument '{unknown[0]}'"
            )
        return found, unknown

    def _joined(self, words: list[str]) -> list[str]:
        """`--args -v` as `--args=-v`; what belongs to a container's command is left alone."""
        ends = any(
            action.nargs in (argparse.REMAINDER, argparse.PARSER) for action in self._actions
        )
        joined: list[str] = []
        while words:
            word = words.pop(0)
            action = self._option_string_actions.get(word)
            if action is None and self._is_switched(word):
                name, _, value = word.partition("=")
                joined += [name] if self._boolean(name, value) else []
                continue
            if word == "--" or (ends and not word.startswith("-")):
                return [*joined, word, *words]
            if action is not None and action.nargs is None:
                if not words:
                    self.error(f"flag needs an argument: {word}")
                value = words.pop(0)
                is_dashed = value.startswith("-") and word.startswith("--")
                joined += [f"{word}={value}"] if is_dashed else [word, value]
            else:
                joined.append(word)
        return joined

    def _is_switched(self, word: str) -> bool:
        """Whether this is a switch with a value, as Docker's scripts have it: `--detach=false`."""
        name, equals, _ = word.partition("=")
        action = self._option_string_actions.get(name)
        # One whose value may be left out reads it itself: there false is not the same as nothing.
        is_switch = action is not None and action.const is True and action.nargs == 0
        return bool(equals) and is_switch

    def _boolean(self, name: str, value: str) -> bool:
        if value not in BOOLEANS:
            self.error(f'invalid argument "{value}" for "{name}" flag: use true or false')
        return BOOLEANS[value]

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        try:
            return super()._get_value(action, text)
        except InvalidArgument as error:
            raise _invalid(action, text, error.message) from None
        except argparse.ArgumentError as error:
            # Our readers name the flag themselves, in Docker's words.
            if error.message.startswith("invalid argument "):
                raise argparse.ArgumentError(None, error.message) from None
            what = _NUMBERS.get(action.type) or getattr(action.type, "__name__", "value")
            raise _invalid(action, text, f"this is no {what}") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(None, self._unknown(action, value))
        raise _invalid(action, value, f"use one of {', '.join(action.choices)}")

    def _unknown(self, commands: argparse._SubParsersAction[_Parser], word: str) -> str:
        """The sentence for a word that is no command; it may be one of a noun's."""
        parsers = dict.fromkeys(commands.choices.values())
        meant = [f"'{found.prog}'" for each in parsers if (found := each.command(word))]
        use = f": use {' or '.join(meant)}" if meant else ""
        return f"unknown command: {self.prog} {word}{use}"

    def command(self, word: str) -> _Parser | None:
        """The parser of the sub-command of that name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return action.choices.get(word)
        return None

    def error(self, message: str) -> NoReturn:
        for said, better in _WORDS.items():
            message = re.sub(said, better, message)
        self.exit(USAGE_CODE, f"{self.prog}: {message}\nSee '{self.prog} --help'.\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(prog="pyswarm", description="Services and stacks on a cluster of machines.")
    parser.add_argument(
        "-H",
        "--host",
        dest="daemon_host",
        help="the daemon's socket (unix:///path), or PYSWARM_HOST",
    )
    parser.add_argument("-v", "--version", action="version", version=f"pyswarm {__version__}")
    parser.set_defaults(help_of=parser)
    parsers: Any = parser.add_subparsers(metavar="COMMAND", title="Commands")
    things = (network, payload, volume, registry, usage, inspecting, system)
    for module in (swarm, node, service, task, stack, *things, events, programs, top):
        module.register(parsers)
    daemon = parsers.add_parser("daemon", help="Run the daemon of this machine")
    settings.add_options(daemon)
    daemon.set_defaults(run_offline=_daemon, help_of=None)
    lab.register(parsers)
    return parser


def _daemon(args: Namespace) -> int:
    # Imported late: no other command needs what a daemon needs.
    from pyswarm.daemon.main import run

    code: int = run(settings.from_arguments(args), debug=args.debug)
    return code


async def _call(args: Namespace) -> int:
    async with Connection(socket_path(args.daemon_host)) as connection:
        code: int = await args.run(args, connection)
        return code


def _dispatch(args: Namespace) -> int:
    if hasattr(args, "lab_handler"):
        return lab.run(args)
    if hasattr(args, "run_offline"):
        code: int = args.run_offline(args)
        return code
    if getattr(args, "run", None) is not None:
        return asyncio.run(_call(args))
    args.help_of.print_help()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    args = build_parser().parse_args(arguments)
    try:
        return _dispatch(args)
    except SwarmError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if hasattr(args, "detach"):
            print(f"\n{_WAITING}", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
