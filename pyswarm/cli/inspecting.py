"""`pyswarm inspect`: any object of the cluster by name or id; tasks have no other place."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import inspect_each
from pyswarm.errors import NotFound
from pyswarm.model import Config, Network, Node, Secret, Service, Task
from pyswarm.wire import from_message

_KINDS: dict[str, type[Any]] = {
    "service": Service,
    "task": Task,
    "node": Node,
    "network": Network,
    "secret": Secret,
    "config": Config,
}


def register(parsers: Parsers) -> None:
    """Add the command."""
    text = "Return low-level information on objects of the cluster"
    inspect = command(parsers, "inspect", text, _inspect)
    inspect.add_argument("--type", choices=_KINDS, help="Return JSON for the specified type")
    inspect.add_argument("refs", metavar="NAME|ID", nargs="+")


async def _inspect(args: Namespace, connection: Connection) -> int:
    kinds = [args.type] if args.type else list(_KINDS)

    async def one(ref: str) -> Any:
        for kind in kinds:
            get = getattr(connection.control, f"Get{kind.capitalize()}")
            try:
                found = await connection.call(get(control_pb2.Reference(ref=ref)))
            except NotFound:
                continue
            return from_message(_KINDS[kind], found)
        raise NotFound(ref)

    return await inspect_each(args.refs, one)
