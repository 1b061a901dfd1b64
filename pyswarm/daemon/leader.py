"""What a node asks of its swarm's leader, whom it finds by asking the managers that it knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from certs.unlock import OPEN, Lock, parse_unlock_key
from pyswarm.aio import Backoff
from pyswarm.api.v1 import control_pb2, control_pb2_grpc
from pyswarm.errors import NotLeader, SwarmError, Unavailable
from pyswarm.model import NodeRole
from pyswarm.rpc import MANAGER, ChannelPool, Credentials, swarm_errors

CALL_SECONDS = 10.0


async def at_leader(
    pool: ChannelPool, addresses: Sequence[str], method: str, request: object, seconds: float
) -> None:
    """Call a method of Membership at the leader, again and again for `seconds`; SwarmError."""
    deadline, backoff = time.monotonic() + seconds, Backoff(0.1, 1.0)
    target, turn = addresses[0], 0
    while True:
        try:
            stub = control_pb2_grpc.MembershipStub(pool.get(target, MANAGER))
            with swarm_errors(target):
                await getattr(stub, method)(request, timeout=CALL_SECONDS)
            return
        except SwarmError as error:
            if not error.temporary or time.monotonic() > deadline:
                raise
            turn += 1
            hint = error.leader_address if isinstance(error, NotLeader) else ""
            target = hint or addresses[turn % len(addresses)]
            await asyncio.sleep(backoff.next())


async def learn(addresses: Sequence[str], credentials: Credentials) -> tuple[int, Lock]:
    """What a node must know before it stores anything: the swarm's UDP port of VXLAN, and what a
    manager seals its keys with. Asked of the first manager that answers."""
    pool = ChannelPool(lambda: credentials)
    try:
        problem: SwarmError = Unavailable("no manager answers")
        for address in addresses:
            stub = control_pb2_grpc.ControlStub(pool.get(address))
            try:
                with swarm_errors(address):
                    cluster = await stub.GetCluster(control_pb2.Empty(), timeout=CALL_SECONDS)
                    lock = OPEN
                    if credentials.identity.role is NodeRole.MANAGER:
                        ask = stub.GetUnlockKey(control_pb2.Empty(), timeout=CALL_SECONDS)
                        lock = _lock_of(await ask)
                return int(cluster.vxlan_port), lock
            except SwarmError as error:
                problem = error
        raise problem
    finally:
        await pool.close()


def _lock_of(answer: control_pb2.UnlockKey) -> Lock:
    return Lock(parse_unlock_key(answer.key) if answer.key else b"", answer.version)
