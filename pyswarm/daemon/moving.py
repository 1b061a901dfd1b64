"""A running node whose machine gets another address: the daemon ends, and the next one moves.

Listeners, tunnels and certificates' names are bound to one address for the life of a process, and a
start knows how to move already. Containers go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from pyswarm.daemon import machine
from pyswarm.daemon.membership import SwarmMembership
from pyswarm.daemon.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
LOOKS: Final = 3
"""So often the same new address must be seen: one that comes and goes is no move."""


class Movable(Protocol):
    """The node as this module sees it."""

    settings: Settings
    membership: SwarmMembership | None
    problem: str
    fatal: asyncio.Event


async def watch_address(node: Movable) -> None:
    """Return when this machine is reached elsewhere than when this began, with `node.fatal` set."""
    assert node.membership is not None, "only a node of a swarm has an address"
    wanted = node.settings.advertise_address or node.membership.interface
    first = await machine.readvertised(node.membership.address, wanted)
    last, seen = first, 0
    while seen < LOOKS:
        await asyncio.sleep(LOOK_SECONDS)
        # To ask the kernel for all links is slow where there are many containers.
        here = machine.has_address(machine.split_address(first, 0)[0])
        now = first if here else await machine.readvertised(first, wanted)
        seen = 0 if now == first else seen + 1 if now == last else 1
        last = now
    node.problem = f"this machine has moved from {first} to {last}: the daemon starts again there"
    log.warning(node.problem)
    node.fatal.set()
