"""`pyswarm system df` and `pyswarm system prune`, over all nodes."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from pyswarm.api.v1 import system_pb2
from pyswarm.cli import usage_text
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.options import FILTER
from pyswarm.errors import InvalidArgument


def register(parsers: Parsers) -> None:
    """Add the commands."""
    system = group(parsers, "system", "Manage the swarm's disk space")
    df = command(system, "df", "Show disk usage of all nodes", _df)
    df.add_argument("-v", "--verbose", action="store_true", help="Show detailed information")
    df.add_argument("--format", choices=("table", "json"), default="table")
    prune = command(system, "prune", "Remove unused data on all nodes", _prune)
    prune.add_argument(
        "-a",
        "--all",
        action="store_true",
        help="Remove all unused images not just dangling ones",
    )
    prune.add_argument("--volumes", action="store_true", help="Prune anonymous volumes")
    prune.add_argument(
        "--filter",
        action="append",
        default=[],
        type=FILTER,
        help="(e.g. until=24h, or until=<timestamp>)",
    )
    prune.add_argument("-f", "--force", action="store_true", help="Do not prompt for confirmation")


def _say_problems(found: Sequence[Any]) -> int:
    """Name the nodes that did not answer; the exit code."""
    missing = [each for each in found if each.problem]
    for each in missing:
        print(f"Error: node {each.hostname} did not answer: {each.problem}", file=sys.stderr)
    return 1 if missing else 0


async def _df(args: Namespace, connection: Connection) -> int:
    asked = connection.system.DiskUsage(system_pb2.DiskUsageRequest())
    found = [usage async for usage in connection.stream(asked)]
    found.sort(key=lambda usage: (usage.hostname, usage.node_id))
    answered = [usage for usage in found if not usage.problem]
    if args.verbose:
        print(usage_text.details(answered, time.time()))
    else:
        print(usage_text.summary(answered, args.format))
    return _say_problems(found)


async def _prune(args: Namespace, connection: Connection) -> int:
    until = usage_text.until_of(args.filter, time.time())
    if until and args.volumes:
        raise InvalidArgument('The "until" filter is not supported with "--volumes"')
    if not args.force:
        print(usage_text.warning(args.all, args.volumes, args.filter), end="", flush=True)
        answer = await asyncio.to_thread(sys.stdin.readline)
        if answer.strip().lower() not in ("y", "yes"):
            print("system prune has been cancelled", file=sys.stderr)
            return 1
    request = system_pb2.PruneRequest(all=args.all, volumes=args.volumes, until=until)
    found = [each async for each in connection.stream(connection.system.Prune(request))]
    found.sort(key=lambda each: (each.hostname, each.node_id))
    print(usage_text.pruned(found))
    return _say_problems(found)
