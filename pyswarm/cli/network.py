"""`pyswarm network`: create, ls, inspect, rm."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli import columns
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import for_each, inspect_each
from pyswarm.cli.formats import add_format, shown_as
from pyswarm.cli.options import add_list_options, filters
from pyswarm.cli.pairs import key_values
from pyswarm.model import Network, NetworkSpec
from pyswarm.wire import from_message, to_message

_FILTERS = {"id": "ids", "name": "names", "label": "labels", "driver": "drivers"}


def register(parsers: Parsers) -> None:
    """Add the commands."""
    network = group(parsers, "network", "Manage networks")
    create = command(network, "create", "Create a network", _create)
    create.add_argument("-d", "--driver", default="overlay", help="Driver (overlay)")
    create.add_argument("--attachable", action="store_true", help="accepted as in Docker")
    create.add_argument("--internal", action="store_true", help="no way to the outside")
    create.add_argument("--subnet", default="", help="Subnet in CIDR format")
    create.add_argument("--gateway", default="", help="IPv4 gateway of the subnet")
    create.add_argument("-o", "--opt", action="append", default=[], help="Driver options")
    create.add_argument("--label", action="append", default=[], help="Labels")
    create.add_argument("name", metavar="NETWORK")
    listing = command(network, "ls", "List networks", _list, aliases=["list"])
    add_list_options(listing)
    for name, text, run in (
        ("inspect", "Display detailed information on networks", _inspect),
        ("rm", "Remove networks", _remove),
    ):
        parser = command(network, name, text, run)
        if name == "inspect":
            add_format(parser)
        parser.add_argument("refs", metavar="NETWORK", nargs="+")


async def _create(args: Namespace, connection: Connection) -> int:
    spec = NetworkSpec(
        name=args.name,
        labels=dict(key_values(text) for text in args.label),
        driver=args.driver,
        driver_options=dict(key_values(text) for text in args.opt),
        subnet=args.subnet,
        gateway=args.gateway,
        internal=args.internal,
        attachable=args.attachable,
    )
    request = control_pb2.CreateNetworkRequest(spec=to_message(spec))
    print((await connection.call(connection.control.CreateNetwork(request))).id)
    return 0


async def _list(args: Namespace, connection: Connection) -> int:
    request = control_pb2.ListRequest(filters=filters(args, _FILTERS))
    answer = await connection.call(connection.control.ListNetworks(request))
    columns.show_networks(args, [from_message(Network, message) for message in answer.networks])
    return 0


async def _inspect(args: Namespace, connection: Connection) -> int:
    async def one(ref: str) -> Any:
        request = control_pb2.Reference(ref=ref)
        return from_message(Network, await connection.call(connection.control.GetNetwork(request)))

    return await inspect_each(args.refs, one, shown_as(args.format))


async def _remove(args: Namespace, connection: Connection) -> int:
    def one(ref: str) -> Any:
        return connection.call(connection.control.RemoveNetwork(control_pb2.Reference(ref=ref)))

    return await for_each(args.refs, one)
