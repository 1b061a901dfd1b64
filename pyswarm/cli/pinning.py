"""`service create`, `service update` and `stack deploy`: images get digests before they are stored.

The leader asks the registry once, so that every task runs the same image.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from typing import Any

from pyswarm.api.v1 import control_pb2, registry_pb2
from pyswarm.cli.connection import Connection
from pyswarm.cli.dockerlogin import docker_login
from pyswarm.compose import Existing, Stack
from pyswarm.compose.pinning import (
    MODES,
    Pin,
    tagged,
    to_look_up,
    unanswered,
    with_pins,
)
from pyswarm.model import Platform, ServiceSpec
from pyswarm.registry.reference import with_tag
from pyswarm.wire import from_message

Login = control_pb2.RegistryLogin


def add_service_flags(parser: Any) -> None:
    """The flags of `service create` and `service update`."""
    parser.add_argument(
        "--no-resolve-image",
        action="store_true",
        help="Do not query the registry to resolve image digest and supported platforms",
    )
    _add_registry_auth(parser)


def add_stack_flags(parser: Any) -> None:
    """The flags of `stack deploy`."""
    parser.add_argument(
        "--resolve-image",
        choices=MODES,
        default="always",
        help="Query the registry to resolve image digest and supported platforms (always)",
    )
    _add_registry_auth(parser)


def _add_registry_auth(parser: Any) -> None:
    parser.add_argument(
        "--with-registry-auth",
        action="store_true",
        help="Send Docker's login for the image's registry along, for all nodes of the swarm",
    )


async def _look_up(
    connection: Connection, image: str, service_id: str = "", login: Login | None = None
) -> Pin:
    request = registry_pb2.ResolveImageRequest(image=image, service_id=service_id, login=login)
    found = await connection.call(connection.registries.ResolveImage(request))
    platforms = tuple(from_message(Platform, each) for each in found.platforms)
    return Pin(image=found.image, platforms=platforms, problem=found.problem)


def login_for(args: Namespace, image: str) -> Login | None:
    """What `--with-registry-auth` sends along; None without it, or where Docker has nothing."""
    return docker_login(image) if args.with_registry_auth else None


async def find_pin(
    connection: Connection,
    args: Namespace,
    image: str,
    service_id: str = "",
    login: Login | None = None,
) -> Pin:
    """The image that the user named as it is to be stored."""
    if args.no_resolve_image:
        return Pin(image=with_tag(image))
    return await _look_up(connection, image, service_id, login)


def warn(pin: Pin | None) -> None:
    """Say that a stored image has no digest, as Docker does: after it was stored."""
    if pin is not None and pin.problem:
        print(unanswered(pin), file=sys.stderr)


async def pin_stack(
    connection: Connection, args: Namespace, stack: Stack, existing: Existing
) -> tuple[Stack, dict[str, Login]]:
    """The stack with its images pinned, and the logins of its services by name. Images are looked
    up side by side, each once."""
    stack = tagged(stack)
    ids = {service.spec.name: service.id for service in existing.services}
    found = {spec.name: login_for(args, spec.task.container.image) for spec in stack.services}
    logins = {name: login for name, login in found.items() if login is not None}

    async def one(spec: ServiceSpec) -> Pin:
        image = spec.task.container.image
        return await _look_up(connection, image, ids.get(spec.name, ""), logins.get(spec.name))

    chosen = to_look_up(stack, existing, args.resolve_image)
    pins = await asyncio.gather(*(one(spec) for spec in chosen))
    named = {spec.name: pin for spec, pin in zip(chosen, pins, strict=True)}
    stack, warnings = with_pins(stack, existing, named)
    for warning in warnings:
        print(warning, file=sys.stderr)
    return stack, logins
