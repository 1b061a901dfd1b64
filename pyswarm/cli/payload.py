"""`pyswarm secret` and `pyswarm config`: create, ls, inspect, rm."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli import columns
from pyswarm.cli.commands import Parsers, Run, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import for_each, inspect_each
from pyswarm.cli.options import add_list_options, filters
from pyswarm.cli.pairs import key_values
from pyswarm.errors import InvalidArgument
from pyswarm.model import Config, PayloadSpec, Secret
from pyswarm.wire import from_message, to_message

_FILTERS = {"id": "ids", "name": "names", "label": "labels"}


def register(parsers: Parsers) -> None:
    """Add the commands of both kinds."""
    for kind in (Secret, Config):
        word = kind.__name__.lower()
        payload = group(parsers, word, f"Manage {word}s")
        create = command(payload, "create", f"Create a {word} from a file or STDIN", _create(kind))
        create.add_argument("-l", "--label", action="append", default=[], help="Labels")
        create.add_argument("name", metavar=word.upper())
        create.add_argument("file", nargs="?", default="-", help="a file, or - for STDIN")
        listing = command(payload, "ls", f"List {word}s", _list(kind), aliases=["list"])
        add_list_options(listing, truncates=False)
        for name, text, run in (
            ("inspect", f"Display detailed information on {word}s", _inspect(kind)),
            ("rm", f"Remove {word}s", _remove(kind)),
        ):
            parser = command(payload, name, text, run)
            parser.add_argument("refs", metavar=word.upper(), nargs="+")


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {name}: {error.strerror}") from error


def _create(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        data = _read(args.file)
        if not data:
            raise InvalidArgument(f"error reading from {args.file}: data is empty")
        labels = dict(key_values(text) for text in args.label)
        spec = PayloadSpec(name=args.name, labels=labels, data=data)
        create = getattr(connection.control, f"Create{kind.__name__}")
        request = control_pb2.CreatePayloadRequest(spec=to_message(spec))
        print((await connection.call(create(request))).id)
        return 0

    return run


def _list(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        request = control_pb2.ListRequest(filters=filters(args, _FILTERS))
        answer = await connection.call(
            getattr(connection.control, f"List{kind.__name__}s")(request)
        )
        found: Any = answer.secrets if kind is Secret else answer.configs
        columns.show_payloads(args, [from_message(kind, message) for message in found])
        return 0

    return run


def _inspect(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        get = getattr(connection.control, f"Get{kind.__name__}")

        async def one(ref: str) -> Any:
            message = await connection.call(get(control_pb2.Reference(ref=ref)))
            return from_message(kind, message)

        return await inspect_each(args.refs, one)

    return run


def _remove(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        remove = getattr(connection.control, f"Remove{kind.__name__}")
        return await for_each(
            args.refs, lambda ref: connection.call(remove(control_pb2.Reference(ref=ref)))
        )

    return run
