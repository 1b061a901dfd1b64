"""`pyswarm swarm unlock` and `unlock-key`, and what the other commands say of the unlock key."""

from __future__ import annotations

import sys
from argparse import Namespace
from getpass import getpass
from typing import Any, Final

from pyswarm.api.v1 import control_pb2, local_pb2
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.cli.service_flags import SWITCH
from pyswarm.errors import FailedPrecondition

_TYPED_MOST: Final = 1024


def register(swarm: Parsers) -> None:
    """Add the commands to those of `swarm`."""
    command(swarm, "unlock", "Unlock swarm", _unlock)
    key = command(swarm, "unlock-key", "Manage the unlock key", _unlock_key)
    key.add_argument("-q", "--quiet", action="store_true", help="Only display token")
    key.add_argument("--rotate", action="store_true", help="Rotate unlock key")


def add_autolock(parser: Any) -> None:
    """The flag `--autolock[=true|false]`."""
    text = "Managers need an unlock key when they restart"
    parser.add_argument("--autolock", nargs="?", const=True, type=SWITCH, help=text)


def how_to_unlock(key: str) -> str:
    """What a user has to know once there is an unlock key."""
    return (
        "To unlock a swarm manager after it restarts, run the `pyswarm swarm unlock`\n"
        f"command and provide the following key:\n\n    {key}\n\n"
        "Remember to store this key in a password manager, since without it you\n"
        "will not be able to restart the manager."
    )


async def unlock_key(connection: Connection) -> str:
    """The swarm's unlock key; empty without autolock."""
    answer = await connection.call(connection.control.GetUnlockKey(control_pb2.Empty()))
    return str(answer.key)


async def _unlock(args: Namespace, connection: Connection) -> int:
    info = await connection.call(connection.local.Info(control_pb2.Empty()))
    if info.state == "inactive":
        raise FailedPrecondition("This node is not part of a swarm")
    if info.state != "locked":
        raise FailedPrecondition("swarm is not locked")
    request = local_pb2.UnlockRequest(key=_typed_key())
    await connection.call(connection.local.Unlock(request))
    return 0


def _typed_key() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline(_TYPED_MOST).strip()
    try:
        return getpass("Please enter unlock key: ").strip()
    except EOFError:
        return ""


async def _unlock_key(args: Namespace, connection: Connection) -> int:
    if args.rotate:
        request = control_pb2.UpdateClusterRequest(rotate_unlock_key=True)
        await connection.call(connection.control.UpdateCluster(request))
        if not args.quiet:
            print(
                "Successfully rotated manager unlock key.\n\n"
                "A manager that is not up opens with the key of before: keep that one until every\n"
                "manager has been up again.\n"
            )
    key = await unlock_key(connection)
    if not key:
        raise FailedPrecondition("no unlock key is set")
    print(key if args.quiet else how_to_unlock(key))
    return 0
