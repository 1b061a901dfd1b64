"""Virtual time, and a network that loses, delays, doubles, reorders and parts."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from manager.raft.messages import Message


class Timeline:
    """What happens when; things of the same time happen in the order in which they were planned.

    What is put into `soon` follows when all else of the present moment has happened.
    """

    def __init__(self) -> None:
        self.now = 0
        self.soon: deque[Callable[[], object]] = deque()
        self._due: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)

    def at(self, delay: int, do: Callable[[], object]) -> None:
        """Call `do` after `delay` units."""
        self._due[self.now + delay].append(do)

    def advance(self, time: int) -> None:
        """Let everything happen that is due until `time`."""
        due, soon = self._due, self.soon
        for now in range(self.now, time + 1):
            while now in due or soon:
                self.now = now
                for do in due.pop(now, ()):
                    do()
                while soon and now not in due:
                    soon.popleft()()
        self.now = time


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFaults:
    """Chances are per message or per unit of time; times in units."""

    drop: float = 0.04
    duplicate: float = 0.05
    delay: int = 6
    late: float = 0.03  # a message that takes up to `late_delay`: it arrives after later ones
    late_delay: int = 300
    partition: float = 0.002
    partition_time: int = 400


class Network:
    """Carries messages, while it is not `calm` with faults."""

    def __init__(
        self,
        line: Timeline,
        faults: NetworkFaults,
        chance: random.Random,
        deliver: Callable[[Message], None],
    ) -> None:
        self.calm = False
        self.blocked: set[tuple[int, int]] = set()  # sender and receiver
        self._line = line
        self._faults = faults
        self._chance = chance
        self._random = chance.random
        self._doubled = 1 - faults.drop - faults.duplicate
        self._deliver = deliver

    def partition(self, ids: Sequence[int]) -> None:
        """Part these members for a while, in one of four ways."""
        kind = self._chance.choice(("halves", "one", "one way", "bridge"))
        some = {self._chance.choice(ids)}
        bridge: set[int] = set()
        if kind in ("halves", "bridge"):
            some = set(self._chance.sample(ids, len(ids) // 2))
        if kind == "bridge":
            bridge = {self._chance.choice(ids)}  # one that both halves hear
        pairs = {(a, b) for a in some - bridge for b in set(ids) - some - bridge}
        if kind != "one way":
            pairs |= {(b, a) for a, b in pairs}
        elif self._chance.random() < 0.5:
            pairs = {(b, a) for a, b in pairs}
        self.blocked |= pairs
        delay = self._chance.randint(50, self._faults.partition_time)
        self._line.at(delay, partial(self.blocked.difference_update, pairs))

    def heal(self) -> None:
        """All hear all."""
        self.blocked.clear()

    def send(self, message: Message) -> bool:
        """On its way, once or twice; False where it is lost."""
        blocked, faults, chance = self.blocked, self._faults, self._random
        if blocked and (message.sender, message.to) in blocked:
            return False
        fate = 1.0 if self.calm else chance() - faults.drop
        if fate < 0:
            return False
        most = faults.late_delay if fate < faults.late else faults.delay
        arrive = partial(self._deliver, message)
        self._line.at(1 + int(chance() * most) if most > 1 else 1, arrive)
        if fate > self._doubled and not self.calm:
            self._line.at(1 + int(chance() * faults.delay), arrive)
        return True
