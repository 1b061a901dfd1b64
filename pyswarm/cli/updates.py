"""`service update --pause / --continue / --abort`, `service rollback` and `service history`."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from pyswarm.api.v1 import control_pb2, updates_pb2
from pyswarm.cli.connection import Connection
from pyswarm.cli.flags.declared import is_whole
from pyswarm.cli.listings import revisions
from pyswarm.cli.options import add_form
from pyswarm.errors import InvalidArgument
from pyswarm.model import Revision, Service
from pyswarm.wire import from_message

_ACTIONS = {
    "pause": (updates_pb2.UPDATE_ACTION_PAUSE, "Hold the update: no further task is replaced"),
    "continue": (updates_pb2.UPDATE_ACTION_CONTINUE, "Go on with a paused update or rollback"),
    "abort": (updates_pb2.UPDATE_ACTION_ABORT, "End the update: back to the specification before"),
}


def add_steering_flags(parser: ArgumentParser) -> None:
    """What can be done with an update that runs; one at a time."""
    steering = parser.add_mutually_exclusive_group()
    for word, (_, text) in _ACTIONS.items():
        steering.add_argument(
            f"--{word}", dest="steering", action="store_const", const=word, help=text
        )


def refuse_other_flags(args: Namespace) -> None:
    """Refuse flags that change the specification, which is something else than steering."""
    allowed = ("steering", "detach", "quiet", "ref", "daemon_host", "run", "help_of")
    others = (value for name, value in vars(args).items() if name not in allowed)
    # 0 is given too: a number of replicas, or the first word of a flag.
    if any(value is not None and value is not False and value not in ([], "") for value in others):
        raise InvalidArgument(f"other flags may not be combined with --{args.steering}")


async def steer(connection: Connection, ref: str, word: str) -> Service:
    """Pause, continue or abort the update of a service; the service as it is then."""
    request = updates_pb2.SteerUpdateRequest(service=ref, action=_ACTIONS[word][0])
    call = connection.updates.SteerUpdate(request)
    return from_message(Service, await connection.find("service", ref, call))


def revision_number(text: str) -> int:
    """The number after `--to`."""
    if not is_whole(text) or not int(text):
        raise InvalidArgument("use a number of the history")
    return int(text)


def add_history_options(parser: ArgumentParser) -> None:
    """The options of `service history`."""
    parser.add_argument("--no-trunc", action="store_true", help="Do not truncate output")
    add_form(parser)
    parser.add_argument("ref", metavar="SERVICE")


async def show_history(args: Namespace, connection: Connection) -> int:
    """`service history`."""
    request = control_pb2.Reference(ref=args.ref)
    call = connection.updates.ListRevisions(request)
    answer = await connection.find("service", args.ref, call)
    found = [from_message(Revision, message) for message in answer.revisions]
    listing = revisions(found, answer.current, time.time(), full=args.no_trunc)
    print(listing.text(args.format))
    return 0
