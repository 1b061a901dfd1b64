"""Clients and faults together for a while, and the verdict on what the clients saw."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection, socket_path
from pyswarm.errors import SwarmError
from pyswarm.model import Node
from pyswarm.testing.chaos.faults import MANAGERS, SPARE, Fault, Faults
from pyswarm.testing.chaos.workload import Client, Journal, read_all
from pyswarm.testing.lab import LabDriver
from pyswarm.testing.linearizability import Outcome, Violation, check
from pyswarm.wire import from_message

Progress = Callable[[str], None]
RECOVERY_SECONDS = 120.0
DOUBLE = 0.3
"""The part of the rounds that have two faults at once, on different hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The drill ends after so many operations or seconds, whatever comes first."""

    seed: int
    operations: int = 100_000
    seconds: float = 1e9
    clients: int = 8
    pace_seconds: float = 0.01
    fault_seconds: tuple[float, float] = (1.0, 5.0)
    rest_seconds: tuple[float, float] = (0.5, 2.0)
    kinds: Sequence[str] = ()  # of faults; all that the machine can do where empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Faults that were there together, and how many writes were acknowledged meanwhile and from
    their end to the beginning of the next round."""

    faults: tuple[str, ...]
    seconds: float
    recovered_after_seconds: float
    writes_meanwhile: int
    writes_afterwards: int


@dataclass(slots=True)
class Report:
    """What happened."""

    settings: Settings
    journal: Journal
    rounds: list[Round] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # faults that could not be done
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0
    check_seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Each thing that must not have happened, in words."""
        return [*map(str, self.violations), *self.journal.wrong]

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of fault was there."""
        return Counter(name.split()[0] for each in self.rounds for name in each.faults)

    def document(self) -> dict[str, Any]:
        """The figures, for JSON."""
        operations = self.journal.operations
        kinds = Counter(f"{each.kind.value}-{each.outcome.value}" for each in operations)
        return {
            "settings": asdict(self.settings),
            "seconds": round(self.seconds, 1),
            "operations": len(operations),
            "by_kind": dict(sorted(kinds.items())),
            "acknowledged_writes": self.journal.acknowledged,
            "unknown": sum(each.outcome is Outcome.UNKNOWN for each in operations),
            "errors": dict(self.journal.errors),
            "keys": len(self.journal.keys),
            "faults": dict(sorted(self.faults.items())),
            "rounds": [asdict(each) for each in self.rounds],
            "faults_not_done": self.problems,
            "check_seconds": round(self.check_seconds, 1),
            "violations": self.failures,
        }


class Drill:
    """One run in one lab."""

    def __init__(self, driver: LabDriver, settings: Settings, progress: Progress) -> None:
        self._driver = driver
        self._settings = settings
        self._progress = progress
        self._dice = Random(settings.seed)
        self._journal = Journal(Random(self._dice.random()))
        self._faults = Faults(driver, self._dice)
        self._deck: list[str] = []
        self._report = Report(settings, self._journal)

    async def run(self) -> Report:
        """Run the clients and the faults, read everything once more, and check."""
        if "clock" not in self._faults.names:
            self._progress("clocks stay right: libfaketime is not installed")
        with self._faults.prepared():
            stop = asyncio.Event()
            clients = [asyncio.ensure_future(each.run(stop)) for each in self._clients()]
            begun = time.monotonic()
            try:
                await self._recovery(begun)
                await self._rounds(begun)
            finally:
                stop.set()
                await asyncio.gather(*clients)
            for name in MANAGERS:
                await read_all(name, self._socket(name), self._journal, RECOVERY_SECONDS)
        report = self._report
        report.seconds = time.monotonic() - begun
        begun = time.process_time()
        report.violations = check(self._journal.operations)
        report.check_seconds = time.process_time() - begun
        return report

    def _socket(self, name: str) -> Path:
        return socket_path(self._driver.socket(name))

    def _clients(self) -> list[Client]:
        """One that only reads on each manager, others in turn on each, and one on the host that is
        a manager at times."""
        hosts = [MANAGERS[number % 3] for number in range(self._settings.clients - 1)] + [SPARE]
        return [
            Client(
                name=f"c{number}-{name}",
                socket=self._socket(name),
                journal=self._journal,
                dice=Random(self._dice.random()),
                pace_seconds=self._settings.pace_seconds,
                reads_only=number < len(MANAGERS),
            )
            for number, name in enumerate(hosts)
        ]

    async def _rounds(self, begun: float) -> None:
        journal, settings = self._journal, self._settings
        while (
            len(journal.operations) < settings.operations
            and time.monotonic() - begun < settings.seconds
            and not journal.wrong
        ):
            faults = self._next(await self._leader())
            before, at = journal.acknowledged, time.monotonic()
            for each in faults:
                await self._do(f"begin {each.name}", each.begin)
            await asyncio.sleep(self._dice.uniform(*settings.fault_seconds))
            for each in sorted(faults, key=lambda fault: fault.needs_majority):
                await self._do(f"end {each.name}", each.end)
            healed, meanwhile = time.monotonic(), journal.acknowledged - before
            recovered = await self._recovery(healed)
            await asyncio.sleep(self._dice.uniform(*settings.rest_seconds))
            done = Round(
                faults=tuple(f"{each.name} {','.join(each.hosts)}" for each in faults),
                seconds=round(healed - at, 1),
                recovered_after_seconds=round(recovered, 1),
                writes_meanwhile=meanwhile,
                writes_afterwards=journal.acknowledged - before - meanwhile,
            )
            self._report.rounds.append(done)
            self._progress(
                f"{' and '.join(done.faults)}: {done.seconds:.1f} s, a write "
                f"{done.recovered_after_seconds:.1f} s later; {len(journal.operations)} operations,"
                f" {journal.acknowledged} writes"
            )

    async def _do(self, what: str, action: Callable[[], object]) -> None:
        """A fault that cannot be done now is no failure: another one may be in its way."""
        try:
            await asyncio.to_thread(action)
        except (SwarmError, AssertionError) as error:
            self._report.problems.append(f"{what}: {error}")
            self._progress(self._report.problems[-1])

    def _draw(self) -> str:
        if not self._deck:
            self._deck = list(self._settings.kinds or self._faults.names)
            self._dice.shuffle(self._deck)
        return self._deck.pop()

    def _next(self, leader: str) -> list[Fault]:
        first = self._faults.make(self._draw(), leader)
        if self._dice.random() > DOUBLE:
            return [first]
        second = self._faults.make(self._draw(), leader)
        apart = not set(first.hosts) & set(second.hosts)
        return [first, second] if apart and not (first.on_wires and second.on_wires) else [first]

    async def _leader(self) -> str:
        """The host that leads, or an empty text."""
        for name in MANAGERS:
            with suppress(SwarmError):
                async with Connection(self._socket(name)) as connection:
                    request = control_pb2.ListRequest()
                    answer = await connection.call(connection.control.ListNodes(request, timeout=5))
                for node in (from_message(Node, each) for each in answer.nodes):
                    if node.manager is not None and node.manager.leader:
                        return node.hostname
        return ""

    async def _recovery(self, since: float) -> float:
        """The seconds from `since` until a write that began later was acknowledged."""
        while self._journal.acknowledged_at < since:
            if time.monotonic() - since > RECOVERY_SECONDS:
                self._journal.wrong.append(f"no write within {RECOVERY_SECONDS:.0f} s of a fault")
                break
            await asyncio.sleep(0.05)
        return time.monotonic() - since


def save(report: Report, driver: LabDriver, directory: Path) -> None:
    """Write the history, one operation a line, and the daemons' logs."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with (directory / "history.jsonl").open("w") as file:
        for each in report.journal.operations:
            row = asdict(each) | {"kind": each.kind.value, "outcome": each.outcome.value}
            file.write(json.dumps(row) + "\n")
    (directory / "violations.txt").write_text("\n\n".join(report.failures) + "\n")
    for name in driver.hosts:
        log = driver.lab.layout.state / name / "log" / "daemon.log"
        if log.exists():
            shutil.copy(log, directory / f"{name}.log")
