"""asyncio as pyswarm uses it: supervised tasks, back-off, queues that cannot grow."""

from pyswarm.aio.backoff import Backoff
from pyswarm.aio.broadcast import Broadcast, Lagged, Subscription
from pyswarm.aio.merge import OrderedMerge, Source
from pyswarm.aio.pipe import Closed, Pipe
from pyswarm.aio.supervisor import Supervisor

__all__ = [
    "Backoff",
    "Broadcast",
    "Closed",
    "Lagged",
    "OrderedMerge",
    "Pipe",
    "Source",
    "Subscription",
    "Supervisor",
]
