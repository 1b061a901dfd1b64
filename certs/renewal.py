"""When to renew a certificate: a machine.

        Installed                 deadline                 Installed
    ──────────────▶  waiting  ──────────────▶  asking  ──────────────▶  waiting
                        ▲        or Demanded      │
                        └─────────────────────────┘ Failed: again after a back-off

A node renews at a random point between 50 % and 80 % of its certificate's life, so that nodes
that joined together do not come together, and most of the tries come before the end. After the
end mutual TLS is over, and `Renew.expired` sends the node to the bootstrap listener.
Times are seconds since the epoch, since that is what certificates speak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyswarm.core import NEVER

EARLIEST: Final = 0.5
LATEST: Final = 0.8
"""The window of renewal, as parts of the certificate's life."""
RETRY_FIRST_SECONDS: Final = 5.0
RETRY_MOST_SECONDS: Final = 3600.0
_RETRIES_LEFT: Final = 4
"""A back-off never takes more than this part (1/4) of the life that is left."""
_RETRY_LEAST_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Installed:
    """A certificate is in use: made at `issued_at` (not its backdated beginning), ends `ends_at`.

    `draw` in [0, 1) picks the point in the window.
    """

    issued_at: float
    ends_at: float
    draw: float


@dataclass(frozen=True, slots=True)
class Demanded:
    """Renew at `at`, or now where that has passed: the node's role has changed, or the root."""

    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The last try failed; `draw` in [0, 1) spreads the next ones."""

    draw: float


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline may have come."""


Event = Installed | Demanded | Failed | Tick


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask for a certificate: by mutual TLS, or with the expired one at the bootstrap listener."""

    expired: bool


@dataclass(slots=True)
class Renewal:
    """See the module; starts with nothing installed."""

    _ends_at: float = NEVER
    _due: float = NEVER
    _asking: bool = False
    _demanded_meanwhile: bool = False
    _failures: int = 0

    def handle(self, event: Event, now: float) -> list[Renew]:
        """Take one event; a `Renew` wants an `Installed` or a `Failed` as its answer."""
        match event:
            case Installed(issued_at, ends_at, draw):
                life = ends_at - issued_at
                self._ends_at = ends_at
                self._due = issued_at + life * (EARLIEST + (LATEST - EARLIEST) * draw)
                if self._demanded_meanwhile:
                    # The answer may be older than the demand, and show the old role.
                    self._due = now
                self._asking, self._demanded_meanwhile, self._failures = False, False, 0
            case Failed(draw):
                self._failures += 1
                self._asking, self._demanded_meanwhile = False, False
                self._due = now + self._back_off(now) * (0.5 + 0.5 * draw)
            case Demanded(at):
                self._demanded_meanwhile = self._asking
                self._due = min(self._due, max(at, now))
            case Tick():
                pass
        if self._asking or now < self._due:
            return []
        self._asking = True
        return [Renew(expired=now >= self._ends_at)]

    def _back_off(self, now: float) -> float:
        longest = RETRY_MOST_SECONDS
        left = self._ends_at - now
        if left > 0:
            longest = min(longest, max(left / _RETRIES_LEFT, _RETRY_LEAST_SECONDS))
        doublings = min(self._failures - 1, 16)
        return min(RETRY_FIRST_SECONDS * 2.0**doublings, longest)

    def deadline(self) -> float:
        """When to send the next `Tick`; `NEVER` while a try is under way."""
        return NEVER if self._asking else self._due

    def check(self) -> None:
        """Assert every invariant."""
        assert self._asking or not self._demanded_meanwhile, "a demand waits for no answer"
        assert self._failures >= 0, f"{self._failures} failures"
