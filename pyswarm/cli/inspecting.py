"""`pyswarm inspect`: any object of the cluster by name or id; tasks have no other place."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import inspect_each
from pyswarm.cli.formats import add_format, shown_as
from pyswarm.cli.volume import volume_details
from pyswarm.errors import NotFound
from pyswarm.model import Config, Network, Node, Secret, Service, Task
from pyswarm.wire import from_message


async def _record(kind: type[Any], ref: str, connection: Connection) -> Any:
    get = getattr(connection.control, f"Get{kind.__name__}")
    return from_message(kind, await connection.call(get(control_pb2.Reference(ref=ref))))


KINDS: Final[dict[str, Callable[[str, Connection], Awaitable[Any]]]] = {
    **{
        kind.__name__.lower(): partial(_record, kind)
        for kind in (Service, Task, Node, Network, Secret, Config)
    },
    "volume": volume_details,
}
"""How an object of each kind is found, in the order in which they are tried."""


def register(parsers: Parsers) -> None:
    """Add the command."""
    text = "Return low-level information on objects of the cluster"
    inspect = command(parsers, "inspect", text, _inspect)
    inspect.add_argument("--type", choices=KINDS, help="Return JSON for the specified type")
    add_format(inspect)
    inspect.add_argument("refs", metavar="NAME|ID", nargs="+")


async def _inspect(args: Namespace, connection: Connection) -> int:
    kinds = [args.type] if args.type else list(KINDS)

    async def one(ref: str) -> Any:
        for kind in kinds:
            try:
                return await KINDS[kind](ref, connection)
            except NotFound:
                continue
        raise NotFound(ref)

    return await inspect_each(args.refs, one, shown_as(args.format))
