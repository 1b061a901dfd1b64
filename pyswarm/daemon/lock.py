"""A manager's keys follow the cluster's record: sealed as it says, with a new data key each time.

    record's unlock key changed ─▶ node.pem sealed with it, a new data key in it    one rename
                                ─▶ log and snapshot written again                  raft.reseal
                                ─▶ the old data key dropped                        one rename
                                ─▶ a new TLS key                                   keeper.demand

Whatever ends the process between two steps, `follow` goes on there: a data key too many says that
the log is still to be written again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from certs.disk import CertificateDirectory
from certs.driver import Keeper
from certs.unlock import Lock
from manager.driver import Manager
from pyswarm.aio import Lagged
from pyswarm.errors import SwarmError
from pyswarm.model import Cluster, NodeRole

log = logging.getLogger(__name__)

NOT_LOCKED: Final = "swarm is not locked"
LOOK_SECONDS: Final = 0.1
"""Between two looks at a store that is written all the time."""
RETRY_SECONDS: Final = 5.0


def lock_of(cluster: Cluster) -> Lock:
    """What the cluster's record asks managers to seal their keys with."""
    return Lock(cluster.unlock_key, cluster.meta.version)


def is_news(wanted: Lock, present: Lock) -> bool:
    """Whether a manager has to change its lock: never for a record from before its last change."""
    return wanted.key != present.key and wanted.version > present.version


async def follow(manager: Manager, certificates: CertificateDirectory, keeper: Keeper) -> None:
    """Keep this manager's keys as the cluster's record says, for ever."""
    # A watch of one item: it is only told that there is something new, and looks itself.
    with manager.store.watch(limit=1) as commits:
        while True:
            try:
                await _catch_up(manager, certificates, keeper)
            except (SwarmError, OSError) as error:
                log.warning("the keys are not as they should be, a later try follows: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with suppress(Lagged):
                await commits.get()
            await asyncio.sleep(LOOK_SECONDS)


async def _catch_up(manager: Manager, certificates: CertificateDirectory, keeper: Keeper) -> None:
    cluster = manager.store.view.cluster
    # A demoted manager serves to its end, but its keys are a worker's by then.
    serves = keeper.current().identity.role == NodeRole.MANAGER
    if serves and cluster is not None and is_news(lock_of(cluster), certificates.lock):
        certificates.relock(lock_of(cluster))
        log.info("this manager's keys are %s now", "sealed" if cluster.unlock_key else "open")
        if cluster.unlock_key:
            keeper.demand()
    if certificates.rotating:
        certificates.retire(await manager.raft.reseal())
        log.info("log and snapshot are sealed with a new data key")
