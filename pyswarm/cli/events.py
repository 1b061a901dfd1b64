"""`pyswarm events`: what has happened, and what happens, in the lines of `docker events`."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from typing import Any, Final

from pyswarm.api.v1 import observe_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.moments import local_text, moment
from pyswarm.cli.options import FILTER
from pyswarm.cli.render import clean

SCOPE: Final = "swarm"


def register(parsers: Parsers) -> None:
    """Add the command."""
    add_options(command(parsers, "events", "Get real time events from the swarm", show_events))


def add_options(parser: ArgumentParser) -> None:
    """The options of `events`."""
    parser.add_argument("--since", default="", help="Show all events since a time (or 10m)")
    parser.add_argument("--until", default="", help="Stream events until this time (or 0s)")
    parser.add_argument(
        *("-f", "--filter"),
        action="append",
        default=[],
        type=FILTER,
        help="Filter output (key=value)",
    )
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="lines, or one JSON a line"
    )


def event_line(event: Any) -> str:
    """`TIME TYPE ACTION ID (key=value, ...)`."""
    attributes = ", ".join(f"{key}={event.attributes[key]}" for key in sorted(event.attributes))
    line = f"{local_text(event.time)} {event.type} {event.action} {event.id} ({attributes})"
    return clean(line)


def event_json(event: Any) -> str:
    """One line in the form of Docker's API."""
    actor = {"ID": event.id, "Attributes": dict(sorted(event.attributes.items()))}
    values = {
        "Type": event.type,
        "Action": event.action,
        "Actor": actor,
        "scope": SCOPE,
        "time": int(event.time),
        "timeNano": round(event.time * 1e6) * 1000,
    }
    return json.dumps(values)


def _request(args: Namespace, now: float) -> observe_pb2.EventsRequest:
    request = observe_pb2.EventsRequest(follow=True)
    for text in args.filter:
        key, _, value = text.partition("=")
        request.filters.add(key=key, value=value)
    if args.since:
        request.since = moment(args.since, now)
    if args.until:
        request.until = moment(args.until, now)
        request.follow = request.until > now
    return request


async def show_events(args: Namespace, connection: Connection) -> int:
    """Print until `--until`, or for ever; goes on where the leader changes."""
    begun = time.time()
    request = _request(args, begun)
    if args.until and not args.since and not request.follow:
        return 0  # as in Docker: only what comes is wanted, and nothing comes any more
    text = event_json if args.format == "json" else event_line
    is_again = False

    def ask() -> Any:
        nonlocal is_again
        if is_again and not request.after_version:
            request.since = request.since or begun
        is_again = True
        return connection.observe.Events(request)

    async for batch in connection.follow(ask):
        for event in batch.events:
            print(text(event), flush=True)
            request.after_version, request.after_place = event.version, event.place
    return 0
