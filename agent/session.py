"""The machine of the agent's session: which manager to try, when to beat, when it is over.

Only the leader takes sessions. A follower names it, and that hint is followed at once; a few hints
in a row that lead nowhere mean an election, and the agent backs off. Nothing here touches a task:
containers do not notice that managers come and go.

A session ends when its stream ends, when a report fails, or when the manager gives no sign of
life: beats have no answer, so after `SILENCE_PERIODS` without any message the machine asks for a
probe, a report that must be answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from pyswarm.core import NEVER

RETRY_FIRST_SECONDS: Final = 0.1
RETRY_MOST_SECONDS: Final = 2.0
OPEN_SECONDS: Final = 5.0
"""The time that a manager has for its hello: a handshake with a busy one takes 1 s."""
SILENCE_PERIODS: Final = 10.0
"""Beat periods without a message before a probe. Smaller: each idle agent costs the leader a call
so often; larger: a leader that is stuck, though its machine answers, is noticed later."""
GOOD_SECONDS: Final = 3.0
"""A session that lived this long was a good one; one that breaks at once, again and again, backs
off like one that cannot be opened."""
HINTS_MAX: Final = 3
PERIOD_LEAST_SECONDS: Final = 0.05
MANAGERS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class ManagersKnown:
    """The addresses of the managers, "host:port", from disk, a hello or the daemon."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """The hello of the session that was opened last."""

    session_id: str
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Heard:
    """The manager sent or acknowledged anything."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The session, or the try to open one, is over; `leader` is where the manager pointed."""

    reason: str
    leader: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline passed."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The agent stops; with `goodbye` the managers need not wait for silence, without it they are
    asked to. The session is left open so that they hear it."""

    goodbye: bool = False


Event = ManagersKnown | Opened | Heard | Broken | Tick | Stopped


@dataclass(frozen=True, slots=True)
class Open:
    """Open a session with the manager at this address."""

    address: str


@dataclass(frozen=True, slots=True)
class SendBeat:
    """Say that the node lives; with `goodbye`: that it leaves on purpose; with `restarting`: that
    the daemon stops while its containers go on."""

    session_id: str
    goodbye: bool = False
    restarting: bool = False


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send an empty report: its answer is the sign of life."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Drop the session or the try to open one."""

    reason: str


Command = Open | SendBeat | SendProbe | Close

Shuffle = Callable[[list[str]], list[str]]
Jitter = Callable[[float], float]


@dataclass(slots=True)
class SessionMachine:
    """Times are monotonic seconds. `shuffle` orders the managers to try, so that a swarm's agents
    do not all knock at one door; `jitter` maps a limit to a delay below it."""

    shuffle: Shuffle
    jitter: Jitter
    managers: tuple[str, ...] = ()
    address: str = field(default="", init=False)
    """The manager that is being tried or talked to."""
    session_id: str = field(default="", init=False)
    """Empty while no session is open."""
    _queue: list[str] = field(default_factory=list, init=False)
    _limit: float = field(default=RETRY_FIRST_SECONDS, init=False)
    _hints: int = field(default=0, init=False)
    _retry_at: float = field(default=0.0, init=False)
    _open_until: float = field(default=NEVER, init=False)
    _opened_at: float = field(default=0.0, init=False)
    _period: float = field(default=1.0, init=False)
    _beat_at: float = field(default=NEVER, init=False)
    _silent_at: float = field(default=NEVER, init=False)
    _probe_at: float = field(default=NEVER, init=False)
    _probe_seconds: float = field(default=NEVER, init=False)
    _stopped: bool = field(default=False, init=False)

    def deadline(self) -> float:
        """When the machine wants its next tick."""
        if self._stopped:
            return NEVER
        if self.session_id:
            return min(self._beat_at, self._silent_at, self._probe_at)
        if self.address:
            return self._open_until
        return self._retry_at if self.managers or self._queue else NEVER

    def probe_every(self, seconds: float, now: float) -> None:
        """Ask so often whether the manager is there, also while it speaks; NEVER ends that."""
        if seconds != self._probe_seconds:
            self._probe_seconds = seconds
            self._probe_at = now if seconds < NEVER else NEVER

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; answers what to do, in order."""
        if self._stopped:
            return []
        match event:
            case ManagersKnown(addresses):
                self._learn(addresses)
            case Opened(session_id, period) if self.address:
                return self._opened(session_id, period, now)
            case Heard() if self.session_id:
                self._silent_at = now + self._period * SILENCE_PERIODS
            case Broken(reason, leader) if self.address:
                return self._broken(reason, leader, now)
            case Stopped(goodbye):
                return self._stop(goodbye)
            case Tick():
                return self._tick(now)
        return []

    def _learn(self, addresses: Iterable[str]) -> None:
        known = tuple(sorted({address for address in addresses if address}))[:MANAGERS_MAX]
        if known and known != self.managers:
            self.managers = known
            self._queue = [address for address in self._queue if address in known]

    def _opened(self, session_id: str, period: float, now: float) -> list[Command]:
        first = self.session_id != session_id
        self.session_id = session_id
        self._period = max(period, PERIOD_LEAST_SECONDS)
        self._open_until, self._hints = NEVER, 0
        self._silent_at = now + self._period * SILENCE_PERIODS
        if not first:
            self._beat_at = min(self._beat_at, now + self._period)
            return []
        self._beat_at, self._opened_at = now + self._period, now
        self._probe_at = now if self._probe_seconds < NEVER else NEVER
        return [SendBeat(session_id)]

    def _broken(self, reason: str, leader: str, now: float) -> list[Command]:
        was_good = bool(self.session_id) and now - self._opened_at >= GOOD_SECONDS
        self.address, self.session_id = "", ""
        self._open_until = self._beat_at = self._silent_at = NEVER
        self._queue = [address for address in self._queue if address != leader]
        if leader and self._hints < HINTS_MAX:
            self._hints += 1
            self._queue.insert(0, leader)
            self._retry_at = now
        else:
            self._hints = 0
            if was_good:
                self._limit = RETRY_FIRST_SECONDS
            self._retry_at = now + self.jitter(self._limit)
            self._limit = min(self._limit * 2, RETRY_MOST_SECONDS)
        return [Close(reason), *(self._tick(now) if self._retry_at <= now else [])]

    def _tick(self, now: float) -> list[Command]:
        if self.session_id:
            commands: list[Command] = []
            if now >= self._beat_at:
                self._beat_at = now + self._period
                commands.append(SendBeat(self.session_id))
            if now >= min(self._silent_at, self._probe_at):
                self._probe_at = now + self._probe_seconds
                self._silent_at = now + self._period * SILENCE_PERIODS
                commands.append(SendProbe(self.session_id))
            return commands
        if self.address:
            if now < self._open_until:
                return []
            return self._broken(f"{self.address} did not answer in {OPEN_SECONDS:g} s", "", now)
        if now < self._retry_at:
            return []
        return self._try(now)

    def _try(self, now: float) -> list[Command]:
        if not self._queue:
            self._queue = self.shuffle(list(self.managers))
        if not self._queue:
            return []
        self.address = self._queue.pop(0)
        self._open_until = now + OPEN_SECONDS
        return [Open(self.address)]

    def _stop(self, goodbye: bool) -> list[Command]:
        # Inert from here on, or the manager's answer to the goodbye, the end of the session,
        # would make the agent open the next one.
        session_id, address = self.session_id, self.address
        self.session_id, self.address, self._stopped = "", "", True
        self._open_until = self._beat_at = self._silent_at = NEVER
        if session_id:
            return [SendBeat(session_id, goodbye=goodbye, restarting=not goodbye)]
        return [Close("the agent stops")] if address else []

    def check(self) -> None:
        """Assert the invariants."""
        assert not self.session_id or self.address, f"session {self.session_id} with nobody"
        opening = bool(self.address) and not self.session_id
        assert opening == (self._open_until < NEVER), "a try without an end"
        assert bool(self.session_id) == (self._beat_at < NEVER), "a session without beats"
        assert len(self.managers) <= MANAGERS_MAX, f"{len(self.managers)} managers"
