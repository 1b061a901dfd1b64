"""`pyswarm secret` and `pyswarm config`: create, update, rotate, versions, ls, inspect, rm."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pyswarm.api.v1 import control_pb2, volumes_pb2
from pyswarm.cli import columns
from pyswarm.cli.commands import Parsers, Run, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import for_each, inspect_each
from pyswarm.cli.formats import add_format, refuse_both, shown_as
from pyswarm.cli.options import add_form, add_list_options, filters
from pyswarm.cli.pairs import key_values
from pyswarm.cli.payload_pretty import payloads_text
from pyswarm.cli.sequence import in_sequence
from pyswarm.cli.service import get_service
from pyswarm.cli.volume_listings import Version, versions
from pyswarm.cli.waiting import wait_for_services
from pyswarm.errors import InvalidArgument
from pyswarm.model import Config, PayloadSpec, Secret
from pyswarm.wire import from_message, to_message

JOB_FOLLOWS: Final = "is a job, and follows with its next run"

_FILTERS = {"id": "ids", "name": "names", "label": "labels"}


def register(parsers: Parsers) -> None:
    """Add the commands of both kinds."""
    for kind in (Secret, Config):
        word = kind.__name__.lower()
        payload = group(parsers, word, f"Manage {word}s")
        create = command(payload, "create", f"Create a {word} from a file or STDIN", _create(kind))
        create.add_argument("-l", "--label", action="append", default=[], help="Labels")
        create.add_argument(
            "--template-driver", default="", help="golang: each node fills the placeholders"
        )
        create.add_argument("name", metavar=word.upper())
        create.add_argument(
            "file", metavar="FILE", nargs="?", default="-", help="a file, or - for STDIN"
        )
        update = command(payload, "update", f"Change the labels of a {word}", _update(kind))
        update.add_argument(
            "--label-add", action="append", default=[], help="Add or change a label"
        )
        update.add_argument("--label-rm", action="append", default=[], help="Remove a label")
        update.add_argument("ref", metavar=word.upper())
        _add_rotation(payload, kind)
        listing = command(payload, "ls", f"List {word}s", _list(kind), aliases=["list"])
        add_list_options(listing, truncates=False)
        for name, text, run in (
            ("inspect", f"Display detailed information on {word}s", _inspect(kind)),
            ("rm", f"Remove {word}s", _remove(kind)),
        ):
            parser = command(payload, name, text, run)
            if name == "inspect":
                parser.add_argument("--pretty", action="store_true", help="Print it for people")
                add_format(parser)
            parser.add_argument("refs", metavar=word.upper(), nargs="+")


def _add_rotation(payload: Parsers, kind: type[Secret] | type[Config]) -> None:
    word = kind.__name__.lower()
    text = f"Give a {word} new content, and have its services follow"
    rotate = command(payload, "rotate", text, _rotate(kind))
    rotate.add_argument(
        "--live",
        action="store_true",
        help="replace the file in running containers; default: a rolling update",
    )
    rotate.add_argument("--signal", default="", help="with --live: sent then, such as SIGHUP")
    rotate.add_argument("-d", "--detach", action="store_true", help="Do not wait for the services")
    rotate.add_argument("-q", "--quiet", action="store_true", help="Suppress progress output")
    rotate.add_argument("ref", metavar=word.upper())
    rotate.add_argument("file", metavar="FILE", help="a file, or - for STDIN")
    versions = command(payload, "versions", f"List the versions of a {word}", _versions(kind))
    versions.add_argument("-q", "--quiet", action="store_true", help="Only display IDs")
    add_form(versions)
    versions.add_argument("ref", metavar=word.upper())


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
        spec = PayloadSpec(
            name=args.name, labels=labels, data=data, template_driver=args.template_driver
        )
        create = getattr(connection.control, f"Create{kind.__name__}")
        request = control_pb2.CreatePayloadRequest(spec=to_message(spec))
        print((await connection.call(create(request))).id)
        return 0

    return run


def _update(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        name = kind.__name__

        async def attempt() -> None:
            reference = control_pb2.Reference(ref=args.ref)
            message = await connection.call(getattr(connection.control, f"Get{name}")(reference))
            old = from_message(kind, message)
            labels = {k: v for k, v in old.spec.labels.items() if k not in args.label_rm}
            labels |= dict(key_values(text) for text in args.label_add)
            request = control_pb2.UpdatePayloadRequest(
                id=old.id,
                version=old.meta.version,
                spec=to_message(replace(old.spec, labels=labels)),
            )
            await connection.call(getattr(connection.control, f"Update{name}")(request))

        await in_sequence(attempt)
        print(args.ref)
        return 0

    return run


def _rotate(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        if args.signal and not args.live:
            raise InvalidArgument("--signal is of use only with --live")
        data = _read(args.file)
        if not data:
            raise InvalidArgument(f"error reading from {args.file}: data is empty")
        rotate = getattr(connection.rotation, f"Rotate{kind.__name__}")
        request = volumes_pb2.RotateRequest(
            ref=args.ref, data=data, live=args.live, signal=args.signal
        )
        done = await connection.call(rotate(request))
        print(f"{args.ref}: version {done.version}")
        for names, what in (
            (done.updated, "update begun"),
            (done.live, "replaced in its running tasks"),
            (done.stayed, "stays at its version"),
            (done.jobs, JOB_FOLLOWS),
        ):
            for name in names:
                print(f"{name}: {what}", flush=True)
        if args.detach or not done.updated:
            return 0
        services = [await get_service(connection, name) for name in done.updated]
        return await wait_for_services(connection, services, args.quiet)

    return run


def _versions(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        call = getattr(connection.rotation, f"List{kind.__name__}Versions")
        answer = await connection.call(call(control_pb2.Reference(ref=args.ref)))
        found = [
            Version(
                id=v.id,
                number=v.version,
                created_at=v.created_at,
                services=tuple(v.services),
            )
            for v in answer.versions
        ]
        print(versions(found, time.time()).text(args.format, quiet=args.quiet))
        return 0

    return run


def _list(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        request = control_pb2.ListRequest(filters=filters(args, _FILTERS))
        answer = await connection.call(
            getattr(connection.control, f"List{kind.__name__}s")(request)
        )
        found: Any = answer.secrets if kind is Secret else answer.configs
        columns.show_payloads(args, kind, [from_message(kind, message) for message in found])
        return 0

    return run


def _inspect(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        refuse_both(args)
        get = getattr(connection.control, f"Get{kind.__name__}")

        async def one(ref: str) -> Any:
            message = await connection.call(get(control_pb2.Reference(ref=ref)))
            return from_message(kind, message)

        show = payloads_text if args.pretty else shown_as(args.format)
        return await inspect_each(args.refs, one, show)

    return run


def _remove(kind: type[Secret] | type[Config]) -> Run:
    async def run(args: Namespace, connection: Connection) -> int:
        remove = getattr(connection.control, f"Remove{kind.__name__}")
        return await for_each(
            args.refs, lambda ref: connection.call(remove(control_pb2.Reference(ref=ref)))
        )

    return run
