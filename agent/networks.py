"""The endpoint sets that this node knows, brought up to date message by message.

A set is whole or a delta to the version that it names. A delta that does not fit is a gap, and the
agent asks for a new session, which begins with whole sets. Nobody says in a new session which
networks went away before it; but every set that still counts comes before the COMPLETE
assignments, so what was not named until then is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyswarm.model import EndpointDelta, EndpointSet
from pyswarm.model.endpoints import apply


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNews:
    """One message of the managers."""

    complete: tuple[EndpointSet, ...] = ()
    deltas: tuple[EndpointDelta, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(slots=True)
class Networks:
    """The sets by network id."""

    sets: dict[str, EndpointSet] = field(default_factory=dict)
    _named: set[str] = field(default_factory=set, init=False)

    def begin_session(self) -> None:
        """A new session: every set that still counts will be named again."""
        self._named = set()

    def settle(self) -> tuple[str, ...]:
        """The COMPLETE assignments came: drops what was not named, and answers it, sorted."""
        gone = tuple(sorted(self.sets.keys() - self._named))
        for network_id in gone:
            del self.sets[network_id]
        return gone

    def apply(self, news: NetworkNews) -> bool:
        """Take one message; False where a delta does not fit, and nothing of it is taken."""
        sets = dict(self.sets)
        for network_id in news.removed:
            sets.pop(network_id, None)
        for endpoints in news.complete:
            sets[endpoints.network_id] = endpoints
        for change in news.deltas:
            known = sets.get(change.network_id)
            if known is None or known.version != change.applies_to:
                return False
            sets[change.network_id] = apply(known, change)
        self._named |= {endpoints.network_id for endpoints in news.complete}
        self.sets = sets
        return True

    def in_order(self) -> tuple[EndpointSet, ...]:
        """All sets, sorted by network id."""
        return tuple(self.sets[key] for key in sorted(self.sets))
