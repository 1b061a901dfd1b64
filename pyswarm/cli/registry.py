"""`pyswarm registry`: login, logout, ls."""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from argparse import Namespace

from pyswarm.api.v1 import control_pb2, registry_pb2
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.dockerlogin import login_for
from pyswarm.cli.options import add_form
from pyswarm.cli.render import Listing, Row, ago
from pyswarm.errors import InvalidArgument, NotFound
from pyswarm.model import RegistryCredential
from pyswarm.registry.logins import server_name
from pyswarm.registry.reference import DEFAULT_DOMAIN
from pyswarm.wire import from_message


def register(parsers: Parsers) -> None:
    """Add the commands."""
    registry = group(parsers, "registry", "Manage the swarm's logins for registries")
    login = command(registry, "login", "Log the swarm in to a registry", _login)
    login.add_argument("-u", "--username", default="", help="Username, or <token>")
    login.add_argument("--password-stdin", action="store_true", help="Take the password from stdin")
    login.add_argument(
        "--from-docker", action="store_true", help="Take over the login that docker has here"
    )
    login.add_argument("server", metavar="SERVER", nargs="?", default="", help="(docker.io)")
    logout = command(registry, "logout", "Log the swarm out from a registry", _logout)
    logout.add_argument("server", metavar="SERVER", nargs="?", default="", help="(docker.io)")
    listing = command(registry, "ls", "List the swarm's logins", _list, aliases=["list"])
    listing.add_argument("-q", "--quiet", action="store_true", help="Only display servers")
    add_form(listing)


def _read_login(args: Namespace) -> tuple[str, str]:
    if args.from_docker:
        if args.username or args.password_stdin:
            raise InvalidArgument("--from-docker takes no --username and no --password-stdin")
        server = server_name(args.server or DEFAULT_DOMAIN)
        found = login_for(server)
        if found is None:
            raise NotFound(f"docker has no login for {server} here: use 'docker login' first")
        return found.user, found.password
    if args.password_stdin:
        if not args.username:
            raise InvalidArgument("Must provide --username with --password-stdin")
        return args.username, sys.stdin.read().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidArgument("Cannot perform an interactive login from a non TTY device")
    return args.username or input("Username: "), getpass.getpass("Password: ")


async def _login(args: Namespace, connection: Connection) -> int:
    user, password = await asyncio.to_thread(_read_login, args)
    if not user or not password:
        raise InvalidArgument("the user and the password must not be empty")
    request = control_pb2.RegistryLogin(server=args.server, user=user, password=password)
    await connection.call(connection.registries.Login(request))
    print("Login Succeeded")
    return 0


async def _logout(args: Namespace, connection: Connection) -> int:
    request = control_pb2.Reference(ref=args.server)
    await connection.call(connection.registries.Logout(request))
    print(f"Removing login credentials for {args.server or 'docker.io'}")
    return 0


async def _list(args: Namespace, connection: Connection) -> int:
    answer: registry_pb2.CredentialList = await connection.call(
        connection.registries.ListCredentials(control_pb2.Empty())
    )
    found = [from_message(RegistryCredential, each) for each in answer.credentials]
    text = listing(found, time.time()).text(args.format, quiet=args.quiet)
    if text:
        print(text)
    return 0


def listing(found: list[RegistryCredential], now: float) -> Listing:
    """`registry ls`; a login that a service brought along names it."""
    rows = []
    for each in sorted(found, key=lambda c: (c.server, c.service_id, c.id)):
        values = {
            "Server": each.server,
            "User": each.user,
            "Service": each.service_id[:12],
            "CreatedAt": ago(each.meta.created_at, now),
            "UpdatedAt": ago(each.meta.updated_at, now),
        }
        rows.append(Row(each.server, tuple(values.values()), values))
    return Listing(("SERVER", "USER", "SERVICE", "CREATED", "UPDATED"), tuple(rows))
