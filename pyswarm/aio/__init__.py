"""asyncio as pyswarm uses it: supervised tasks, back-off, a broadcast that cannot grow."""

from pyswarm.aio.backoff import Backoff
from pyswarm.aio.broadcast import Broadcast, Lagged, Subscription
from pyswarm.aio.supervisor import Supervisor

__all__ = ["Backoff", "Broadcast", "Lagged", "Subscription", "Supervisor"]
