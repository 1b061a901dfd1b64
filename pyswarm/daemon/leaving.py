"""How a node leaves its swarm: when it may, and the word that it leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from agent.driver import Agent
from pyswarm.api.v1 import control_pb2
from pyswarm.daemon.leader import at_leader
from pyswarm.errors import FailedPrecondition, SwarmError, Unavailable
from pyswarm.rpc import ChannelPool

log = logging.getLogger(__name__)

LEAVE_SECONDS: Final = 20.0


def check_leave(*, manager: bool, locked: bool, force: bool) -> None:
    """Refuse what a user may not have meant; `force` says that it was."""
    if locked and not force:
        raise FailedPrecondition(
            "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this "
            "message."
        )
    if manager and not force:
        raise FailedPrecondition(
            "You are attempting to leave the swarm on a node that is participating as a "
            "manager. Removing the last manager erases all current state of the swarm. "
            "Use `--force` to ignore this message."
        )


async def put_down(agent: Agent) -> None:
    """Tell the managers at once that this node goes, so that nobody waits for its silence, and
    remove its containers, before the managers hear that it has left and take it for empty."""
    await agent.stop(goodbye=True)
    try:
        await agent.clear()
    except SwarmError as error:
        log.warning("left before every container was gone: %s", error.message)


async def may_leave(pool: ChannelPool, managers: Sequence[str]) -> None:
    """Ask before anything is stopped; raises FailedPrecondition where the managers cannot do
    without this one."""
    with suppress(Unavailable):  # nobody is there to be asked
        await _leave(pool, managers, control_pb2.RemoveSelfRequest(ask=True))


async def say_goodbye(pool: ChannelPool, managers: Sequence[str]) -> None:
    """Let the managers take this node out, if any answers."""
    try:
        await _leave(pool, managers, control_pb2.RemoveSelfRequest())
    except Unavailable as error:
        log.warning("left without a word, since no manager answers: %s", error)


async def _leave(
    pool: ChannelPool, managers: Sequence[str], request: control_pb2.RemoveSelfRequest
) -> None:
    await at_leader(pool, managers, "Leave", request, LEAVE_SECONDS)
