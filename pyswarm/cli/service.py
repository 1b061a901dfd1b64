"""`pyswarm service`: create, ls, ps, inspect, update, scale, rollback, logs, rm."""

from __future__ import annotations

import argparse
import random
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli import columns
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import for_each, inspect_each
from pyswarm.cli.flags.declared import checked, is_whole
from pyswarm.cli.formats import add_format, refuse_both, shown_as
from pyswarm.cli.listings import CountedService
from pyswarm.cli.logs import add_log_options, find_tasks, logs_request, show_logs
from pyswarm.cli.options import add_list_options, filters
from pyswarm.cli.outcomes import HELP
from pyswarm.cli.pinning import add_service_flags, find_pin, login_for, warn
from pyswarm.cli.removing import wait_for_removal
from pyswarm.cli.sequence import in_sequence
from pyswarm.cli.service_flags import (
    add_create_flags,
    add_update_flags,
    create_spec,
    update_spec,
    warn_ignored,
)
from pyswarm.cli.service_pretty import service_text
from pyswarm.cli.tasks import TASK_FILTERS, show_tasks
from pyswarm.cli.top import add_service_top
from pyswarm.cli.updates import (
    add_history_options,
    add_steering_flags,
    refuse_other_flags,
    revision_number,
    show_history,
    steer,
)
from pyswarm.cli.waiting import wait_for_services
from pyswarm.compose.pinning import pinned_spec
from pyswarm.errors import InvalidArgument, NotFound, SwarmError
from pyswarm.model import Service, ServiceSpec
from pyswarm.model.advice import warnings
from pyswarm.wire import from_message, to_message

_FILTERS = {"id": "ids", "name": "names", "label": "labels", "mode": "modes"}
_FILTERS |= {"update": "update_states"}
_ADJECTIVES = ("brave", "calm", "eager", "fair", "keen", "merry", "proud", "quick", "sunny", "wise")
_ANIMALS = (
    "badger",
    "crane",
    "dolphin",
    "falcon",
    "heron",
    "lynx",
    "otter",
    "robin",
    "seal",
    "wren",
)


def register(parsers: Parsers) -> None:
    """Add the commands."""
    service = group(parsers, "service", "Manage services")
    create = command(service, "create", "Create a new service", _create, epilog=HELP)
    add_create_flags(create)
    add_service_flags(create)
    _add_waiting(create)
    create.add_argument("image", metavar="IMAGE")
    words = create.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)
    words.required = False
    listing = command(service, "ls", "List services", _list, aliases=["list"])
    add_list_options(listing, truncates=False)
    ps = command(service, "ps", "List the tasks of services", _ps)
    add_list_options(ps)
    ps.add_argument("--no-resolve", action="store_true", help="Do not map IDs to Names")
    ps.add_argument("refs", metavar="SERVICE", nargs="+")
    inspect = command(service, "inspect", "Display detailed information on services", _inspect)
    inspect.add_argument("--pretty", action="store_true", help="Print in a human friendly format")
    add_format(inspect)
    inspect.add_argument("refs", metavar="SERVICE", nargs="+")
    update = command(service, "update", "Update a service", _update, epilog=HELP)
    add_update_flags(update)
    add_service_flags(update)
    add_steering_flags(update)
    _add_waiting(update)
    update.add_argument("ref", metavar="SERVICE")
    rollback = command(service, "rollback", "Revert changes to a service", _rollback, epilog=HELP)
    rollback.add_argument(
        "--to",
        metavar="REVISION",
        type=checked("to", revision_number),
        default=0,
        help="A revision of the service's history",
    )
    _add_waiting(rollback)
    rollback.add_argument("ref", metavar="SERVICE")
    history = command(service, "history", "List the revisions of a service", show_history)
    add_history_options(history)
    scale = command(
        service, "scale", "Scale one or multiple replicated services", _scale, epilog=HELP
    )
    _add_waiting(scale)
    scale.add_argument("targets", metavar="SERVICE=REPLICAS", nargs="+")
    logs = command(service, "logs", "Fetch the logs of a service or task", _logs)
    add_log_options(logs)
    logs.add_argument("ref", metavar="SERVICE|TASK")
    add_service_top(service)
    remove = command(service, "rm", "Remove services", _remove)
    remove.add_argument("--wait", action="store_true", help="return when the last task has stopped")
    remove.add_argument("refs", metavar="SERVICE", nargs="+")


def _add_waiting(parser: Any) -> None:
    parser.add_argument("-d", "--detach", action="store_true", help="Do not wait for the tasks")
    parser.add_argument("-q", "--quiet", action="store_true", help="Suppress progress output")


async def get_service(connection: Connection, ref: str) -> Service:
    """The service of that id or name."""
    request = control_pb2.Reference(ref=ref)
    call = connection.control.GetService(request)
    return from_message(Service, await connection.find("service", ref, call))


async def list_services(
    connection: Connection, wanted: control_pb2.Filters | None = None
) -> list[CountedService]:
    """The services that match, with their counts."""
    request = control_pb2.ListRequest(filters=wanted)
    answer = await connection.call(connection.control.ListServices(request))
    return [
        CountedService(
            service=from_message(Service, m.service),
            running=m.running,
            desired=m.desired,
            completed=m.completed,
        )
        for m in answer.services
    ]


async def _create(args: Namespace, connection: Connection) -> int:
    warn_ignored(args)
    name = f"{random.choice(_ADJECTIVES)}_{random.choice(_ANIMALS)}"
    spec = create_spec(args, name)
    login = login_for(args, args.image)
    pin = await find_pin(connection, args, args.image, login=login)
    spec = pinned_spec(spec, pin)
    request = control_pb2.CreateServiceRequest(spec=to_message(spec), registry_login=login)
    created = await connection.call(connection.control.CreateService(request))
    say_warnings(created.warnings)
    warn(pin)
    print(created.id, flush=True)
    if args.detach:
        return 0
    return await _waited(connection, await get_service(connection, created.id), args.quiet)


async def _waited(
    connection: Connection, service: Service, quiet: bool, settled: bool = False
) -> int:
    settled_ids = [service.id] if settled else []
    return await wait_for_services(connection, [service], quiet, settled_ids)


async def _list(args: Namespace, connection: Connection) -> int:
    columns.show_services(args, await list_services(connection, filters(args, _FILTERS)))
    return 0


async def _ps(args: Namespace, connection: Connection) -> int:
    wanted, code = filters(args, TASK_FILTERS), 0
    for ref in args.refs:
        try:
            wanted.services.append((await get_service(connection, ref)).id)
        except NotFound as error:
            print(f"Error: {error.message}", file=sys.stderr)
            code = 1
    if wanted.services:
        await show_tasks(args, connection, wanted)
    return code


async def _inspect(args: Namespace, connection: Connection) -> int:
    refuse_both(args)
    if not args.pretty:
        show = shown_as(args.format)
        return await inspect_each(args.refs, lambda ref: get_service(connection, ref), show)
    answer = await connection.call(connection.control.ListNetworks(control_pb2.ListRequest()))
    names = {network.id: network.spec.name for network in answer.networks}

    def pretty(services: list[Any]) -> str:
        now = time.time()
        return "\n".join(service_text(service, names, now=now) for service in services)

    return await inspect_each(args.refs, lambda ref: get_service(connection, ref), pretty)


def say_warnings(lines: Iterable[str]) -> None:
    """Print what a user should know of what was done all the same."""
    for line in lines:
        print(f"Warning: {line}", file=sys.stderr)


async def edit_service(
    connection: Connection,
    ref: str,
    edit: Callable[[ServiceSpec], ServiceSpec],
    rollback: bool = False,
    to_revision: int = 0,
    login: control_pb2.RegistryLogin | None = None,
) -> tuple[Service, bool]:
    """The service after `edit` of its specification, and whether nothing was changed that concerns
    its tasks."""

    async def attempt() -> tuple[Service, bool]:
        service = await get_service(connection, ref)
        request = control_pb2.UpdateServiceRequest(
            id=service.id,
            version=service.meta.version,
            spec=to_message(edit(service.spec)),
            rollback=rollback,
            to_revision=to_revision,
            registry_login=login,
        )
        answer = await connection.call(connection.control.UpdateService(request))
        changed = from_message(Service, answer)
        known = warnings(service.spec)
        say_warnings(line for line in warnings(changed.spec) if line not in known)
        return changed, concerns_no_task(service.spec, changed.spec)

    return await in_sequence(attempt)


async def with_network_ids(args: Namespace, connection: Connection) -> Namespace:
    """`--network-rm NAME` by the network's id, by which a service knows it."""

    async def id_of(ref: str) -> str:
        request = control_pb2.Reference(ref=ref)
        try:
            found = await connection.call(connection.control.GetNetwork(request))
        except NotFound:
            return ref
        return str(found.id)

    args.network_rm = [*args.network_rm, *[await id_of(ref) for ref in args.network_rm]]
    return args


def concerns_no_task(old: ServiceSpec, new: ServiceSpec) -> bool:
    """Whether a change leaves all tasks as they are."""
    parts = ((spec.task, spec.replicas, spec.endpoint) for spec in (old, new))
    return next(parts) == next(parts)


async def _steer(args: Namespace, connection: Connection) -> int:
    refuse_other_flags(args)
    changed = await steer(connection, args.ref, args.steering)
    print(args.ref, flush=True)
    if args.detach or args.steering == "pause":
        return 0
    return await _waited(connection, changed, args.quiet)


async def _update(args: Namespace, connection: Connection) -> int:
    if args.steering:
        return await _steer(args, connection)
    warn_ignored(args)
    args = await with_network_ids(args, connection)
    service = await get_service(connection, args.ref)
    image = args.image or service.spec.task.container.image
    login = login_for(args, image)
    pin = None
    if args.image is not None:  # as in Docker: without --image the digest stays
        pin = await find_pin(connection, args, image, service.id, login)

    def edit(old: ServiceSpec) -> ServiceSpec:
        spec = update_spec(args, old)
        if pin is not None:
            spec = pinned_spec(spec, pin)
        if args.rollback and spec != old:
            raise InvalidArgument("other flags may not be combined with --rollback")
        return spec

    changed, settled = await edit_service(connection, args.ref, edit, args.rollback, login=login)
    warn(pin)
    print(args.ref, flush=True)
    return 0 if args.detach else await _waited(connection, changed, args.quiet, settled)


async def _rollback(args: Namespace, connection: Connection) -> int:
    changed, settled = await edit_service(connection, args.ref, lambda old: old, True, args.to)
    print(args.ref, flush=True)
    return 0 if args.detach else await _waited(connection, changed, args.quiet, settled)


async def _scale(args: Namespace, connection: Connection) -> int:
    changed, settled, code = [], [], 0
    for target in args.targets:
        try:
            service, is_settled = await _scale_one(connection, target)
            changed.append(service)
            settled += [service.id] if is_settled else []
            print(f"{target.partition('=')[0]} scaled to {target.partition('=')[2]}", flush=True)
        except SwarmError as error:
            print(f"Error: {error.message}", file=sys.stderr)
            code = 1
    if args.detach:
        return code
    return max(code, await wait_for_services(connection, changed, args.quiet, settled))


async def _scale_one(connection: Connection, target: str) -> tuple[Service, bool]:
    ref, equals, text = target.partition("=")
    if not equals:
        raise InvalidArgument(f"invalid scale specifier '{target}', use SERVICE=REPLICAS")
    if not is_whole(text):
        raise InvalidArgument(f"{ref}: invalid replicas value {text}: use a whole number")

    def edit(old: ServiceSpec) -> ServiceSpec:
        if old.mode.is_global:
            raise InvalidArgument(
                f"{ref}: scale can only be used with replicated or replicated-job mode"
            )
        return replace(old, replicas=int(text))

    return await edit_service(connection, ref, edit)


async def _logs(args: Namespace, connection: Connection) -> int:
    request = await logs_request(args, connection)
    try:
        request.services.append((await get_service(connection, args.ref)).id)
    except NotFound:
        request.tasks.extend(await find_tasks(connection, args.ref, "task or service"))
    return await show_logs(args, connection, request)


async def _remove(args: Namespace, connection: Connection) -> int:
    removed: list[str] = []

    async def one(ref: str) -> None:
        service = await get_service(connection, ref)
        reference = control_pb2.Reference(ref=service.id)
        await connection.call(connection.control.RemoveService(reference))
        removed.append(service.id)

    code = await for_each(args.refs, one)
    if args.wait:
        await wait_for_removal(connection, removed)
    return code
