"""`pyswarm stack`: deploy, ls, ps, services, rm, config."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pyswarm.api.v1 import control_pb2, volumes_pb2
from pyswarm.cli import columns
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.each import for_each
from pyswarm.cli.logs import add_log_options, logs_request, show_logs
from pyswarm.cli.options import add_form, add_list_options, filters
from pyswarm.cli.outcomes import HELP
from pyswarm.cli.payload import JOB_FOLLOWS
from pyswarm.cli.pinning import Login, add_stack_flags, pin_stack
from pyswarm.cli.removing import wait_for_removal
from pyswarm.cli.service import edit_service, list_services, say_warnings
from pyswarm.cli.tasks import TASK_FILTERS, show_tasks
from pyswarm.cli.waiting import wait_for_services
from pyswarm.compose import NAMESPACE_LABEL, Action, Existing, Kind, Plan, Step, plan
from pyswarm.compose.plan import carried_over, removal
from pyswarm.errors import InvalidArgument, NotFound
from pyswarm.model import Config, Network, PayloadSpec, Secret, Service, ServiceSpec
from pyswarm.wire import from_message, to_message


def register(parsers: Parsers) -> None:
    """Add the commands."""
    stack = group(parsers, "stack", "Manage stacks")
    deploy = command(
        stack,
        "deploy",
        "Deploy a new stack or update one",
        _deploy,
        aliases=["up"],
        epilog=HELP,
    )
    _add_files(deploy)
    add_stack_flags(deploy)
    deploy.add_argument("--prune", action="store_true", help="Prune services no longer referenced")
    deploy.add_argument("-d", "--detach", action="store_true", help="Do not wait for the tasks")
    deploy.add_argument("-q", "--quiet", action="store_true", help="Suppress progress output")
    deploy.add_argument(
        "names",
        metavar="STACK | COMPOSE-FILE",
        nargs="*",
        help="the stack's name; or a compose file, which names the stack itself",
    )
    listing = command(stack, "ls", "List stacks", _list, aliases=["list"])
    add_form(listing)
    ps = command(stack, "ps", "List the tasks in the stack", _ps)
    add_list_options(ps)
    ps.add_argument("--no-resolve", action="store_true", help="Do not map IDs to Names")
    ps.add_argument("name", metavar="STACK")
    logs = command(stack, "logs", "Fetch the logs of the services of a stack", _logs)
    add_log_options(logs)
    logs.add_argument("name", metavar="STACK")
    services = command(stack, "services", "List the services in the stack", _services)
    add_list_options(services, truncates=False)
    services.add_argument("name", metavar="STACK")
    remove = command(stack, "rm", "Remove stacks", _remove, aliases=["down"])
    remove.add_argument("-d", "--detach", action="store_true", help="Do not wait for the tasks")
    remove.add_argument("names", metavar="STACK", nargs="+")
    config = stack.add_parser("config", help="Output the final config file, after merging")
    _add_files(config)
    config.set_defaults(run_offline=_config, help_of=None)


def _add_files(parser: Any) -> None:
    parser.add_argument(
        "-c", "--compose-file", action="append", default=[], help='a compose file, or "-"'
    )


def _files(names: list[str]) -> list[Path | Literal["-"]]:
    return ["-" if name == "-" else Path(name) for name in names]


def _arguments(args: Namespace) -> tuple[list[str], str | None]:
    """The compose files and the stack's name, where one is given."""
    if args.compose_file:
        if len(args.names) > 1:
            raise InvalidArgument("'stack deploy -c FILE' takes one name of a stack")
        return args.compose_file, args.names[0] if args.names else None
    files = [n for n in args.names if n == "-" or n.endswith((".yml", ".yaml")) or "/" in n]
    names = [n for n in args.names if n not in files]
    if not files:
        raise InvalidArgument("no compose file is given: name one, or use -c FILE STACK")
    if len(names) > 1:
        raise InvalidArgument(f"one stack at a time, not {' and '.join(names)}")
    return files, names[0] if names else None


async def existing_objects(connection: Connection) -> Existing:
    """Everything that a stack can meet."""
    control, everything = connection.control, control_pb2.ListRequest()
    networks = await connection.call(control.ListNetworks(everything))
    secrets = await connection.call(control.ListSecrets(everything))
    configs = await connection.call(control.ListConfigs(everything))
    return Existing(
        networks=tuple(from_message(Network, m) for m in networks.networks),
        secrets=tuple(from_message(Secret, m) for m in secrets.secrets),
        configs=tuple(from_message(Config, m) for m in configs.configs),
        services=tuple(c.service for c in await list_services(connection)),
    )


async def _perform(connection: Connection, step: Step, login: Login | None = None) -> Any:
    word = step.kind.name.capitalize()
    if step.action == Action.ROTATE:
        assert isinstance(step.spec, PayloadSpec), f"{step.sentence}: what cannot be rotated"
        rotation = volumes_pb2.RotateRequest(
            ref=step.id,
            data=step.spec.data,
            if_changed=True,
            set_spec=True,
            labels=step.spec.labels,
            template_driver=step.spec.template_driver,
        )
        return await connection.call(getattr(connection.rotation, f"Rotate{word}")(rotation))
    method = getattr(connection.control, f"{step.action.name.capitalize()}{word}")
    payload = step.kind in (Kind.SECRET, Kind.CONFIG)
    if step.action == Action.REMOVE:
        return await connection.call(method(control_pb2.Reference(ref=step.id)))
    kind: Any = getattr(control_pb2, f"Create{'Payload' if payload else word}Request")
    request = kind(spec=to_message(step.spec))
    if login is not None:
        request.registry_login.CopyFrom(login)
    return await connection.call(method(request))


async def _update(connection: Connection, step: Step, login: Login | None) -> Service:
    """The service as its update began. It may have changed since the plan was made: an update
    before has ended, or it follows to a new version of a secret or config."""
    wanted = step.spec
    assert isinstance(wanted, ServiceSpec), f"{step.sentence}: only a service is updated"

    def edit(old: ServiceSpec) -> ServiceSpec:
        return carried_over(wanted, old)

    return (await edit_service(connection, step.id, edit, login=login))[0]


async def carry_out(
    connection: Connection, steps: Plan, logins: Mapping[str, Login] | None = None
) -> dict[str, Service | None]:
    """Do every step and say so; answers the ids of the services that were created or updated, and
    these as their update began. `logins` go along with the services of these names."""
    services: dict[str, Service | None] = {}
    for step in steps.steps:
        print(step.sentence, flush=True)
        login = (logins or {}).get(step.name) if step.kind == Kind.SERVICE else None
        if step.action == Action.UPDATE:
            services[step.id] = await _update(connection, step, login)
            continue
        answer = await _perform(connection, step, login)
        if step.action == Action.ROTATE:
            for job in answer.jobs:
                print(f"{job}: {JOB_FOLLOWS}", flush=True)
        if step.kind == Kind.SERVICE and step.action == Action.CREATE:
            services[answer.id] = None
            say_warnings(answer.warnings)
    return services


async def _deploy(args: Namespace, connection: Connection) -> int:
    files, name = _arguments(args)
    # Imported here: commands without a compose file start without YAML.
    from pyswarm.compose.client import load

    loaded = load(_files(files), name, os.environ)
    existing = await existing_objects(connection)
    stack, logins = await pin_stack(connection, args, loaded.stack, existing)
    steps = plan(stack, existing, prune=args.prune)
    say_warnings((*loaded.warnings, *steps.warnings))
    changed = await carry_out(connection, steps, logins)
    for unchanged in steps.unchanged:  # a new password reaches them all the same
        if login := logins.get(unchanged):
            await edit_service(connection, unchanged, lambda old: old, login=login)
    if args.detach:
        return 0
    wanted = control_pb2.Filters(labels=[f"{NAMESPACE_LABEL}={loaded.stack.name}"])
    counted = await list_services(connection, wanted)
    names = {spec.name for spec in loaded.stack.services}
    found = [c.service for c in counted if c.service.spec.name in names]
    # How a service's update stands now may be its end already: the wait begins where it began.
    mine = [changed.get(service.id) or service for service in found]
    settled = [service.id for service in found if service.id not in changed]
    return await wait_for_services(connection, mine, args.quiet, settled)


async def _list(args: Namespace, connection: Connection) -> int:
    columns.show_stacks(args, [c.service for c in await list_services(connection)])
    return 0


async def _ps(args: Namespace, connection: Connection) -> int:
    wanted = filters(args, TASK_FILTERS)
    wanted.labels.append(f"{NAMESPACE_LABEL}={args.name}")
    services = await list_services(
        connection, control_pb2.Filters(labels=[f"{NAMESPACE_LABEL}={args.name}"])
    )
    if not services:
        print(f"nothing found in stack: {args.name}", file=sys.stderr)
        return 1
    await show_tasks(args, connection, wanted)
    return 0


async def _services(args: Namespace, connection: Connection) -> int:
    known = {"id": "ids", "name": "names", "label": "labels", "mode": "modes"}
    wanted = filters(args, known)
    wanted.labels.append(f"{NAMESPACE_LABEL}={args.name}")
    found = await list_services(connection, wanted)
    if not found:
        print(f"Nothing found in stack: {args.name}", file=sys.stderr)
        return 0
    columns.show_services(args, found)
    return 0


async def _logs(args: Namespace, connection: Connection) -> int:
    request = await logs_request(args, connection)
    label = f"{NAMESPACE_LABEL}={args.name}"
    if not await list_services(connection, control_pb2.Filters(labels=[label])):
        raise NotFound(f"nothing found in stack: {args.name}")
    request.labels.append(label)
    return await show_logs(args, connection, request)


async def _remove(args: Namespace, connection: Connection) -> int:
    async def one(name: str) -> None:
        steps = removal(name, await existing_objects(connection))
        if not steps.steps:
            print(f"Nothing found in stack: {name}", file=sys.stderr)
            return
        # A network and a secret are in use until the last task of their services has ended.
        services = [step for step in steps.steps if step.kind == Kind.SERVICE]
        others = [step for step in steps.steps if step.kind != Kind.SERVICE]
        for step in services:
            print(step.sentence, flush=True)
            await _perform(connection, step)
        if others or not args.detach:
            await wait_for_removal(connection, [step.id for step in services])
        for step in others:
            print(step.sentence, flush=True)
            await _perform(connection, step)

    return await for_each(args.names, one, silent=True)  # its steps were told, as in Docker


def _config(args: Namespace) -> int:
    from pyswarm.compose.client import load_document
    from pyswarm.compose.show import to_yaml

    loaded = load_document(_files(args.compose_file), os.environ)
    say_warnings(loaded.document.warnings)
    print(to_yaml(loaded.document.tree), end="")
    return 0
