"""What a node asks of a swarm that has just certified it, before it stores anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from certs.unlock import OPEN, Lock, parse_unlock_key
from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.errors import SwarmError, Unavailable
from pyswarm.model import NodeRole
from pyswarm.rpc import ChannelPool, Credentials, swarm_errors

CALL_SECONDS: Final = 10.0


async def learn(addresses: Sequence[str], credentials: Credentials) -> tuple[int, Lock]:
    """The swarm's UDP port of VXLAN, and what a manager seals its keys with.

    Asked of the first manager that answers.
    """
    pool = ChannelPool(lambda: credentials)
    try:
        problem: SwarmError = Unavailable("no manager answers")
        for address in addresses:
            stub = control_pb2_grpc.ControlStub(pool.get(address))
            try:
                with swarm_errors(address):
                    cluster = await stub.GetCluster(control_pb2.Empty(), timeout=CALL_SECONDS)
                    lock = OPEN
                    if credentials.identity.role == NodeRole.MANAGER:
                        answer = await stub.GetUnlockKey(control_pb2.Empty(), timeout=CALL_SECONDS)
                        lock = _lock_of(answer)
                return int(cluster.vxlan_port), lock
            except SwarmError as error:
                problem = error
        raise problem
    finally:
        await pool.close()


def _lock_of(answer: control_pb2.UnlockKey) -> Lock:
    return Lock(parse_unlock_key(answer.key) if answer.key else b"", answer.version)
