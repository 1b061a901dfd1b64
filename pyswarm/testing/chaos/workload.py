"""Clients that write and read through every manager, and remember what they were told.

A register is a config's label `value`, written whatever it was, or replaced at the version at
which it was read. A list is a label `list`: read, and written back with one element more at the
version of the read.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.connection import Connection
from pyswarm.errors import (
    AlreadyExists,
    DataLoss,
    NotFound,
    SequenceConflict,
    SwarmError,
)
from pyswarm.testing.linearizability import Kind, Operation, Outcome

CALL_SECONDS = (0.3, 4.0)
"""Patience, drawn anew for each call. Patient callers hang on a leader that was cut off, impatient
ones are with the next one while the old one still believes in itself."""

REGISTERS = 3
LISTS = 2
USES = 150
"""Operations on one key: an answer grows with its list, and keys that came and went have lived
through snapshots and restarts when they are read again at the end."""

ABSENT_SECONDS = 0.2
"""How long a client rests whose manager does not answer or is none."""


@dataclass(slots=True)
class Key:
    """A config; `there` once somebody has seen it."""

    name: str
    lists: bool
    uses: int = USES
    there: bool = False


class Journal:
    """What all clients did and saw."""

    def __init__(self, dice: Random) -> None:
        self.operations: list[Operation] = []
        self.keys: dict[str, Key] = {}
        self.wrong: list[str] = []  # answers that nothing explains
        self.errors: Counter[str] = Counter()
        self.acknowledged_at = 0.0  # the beginning of the last write that succeeded
        self.acknowledged = 0
        self._dice = dice
        self._values = itertools.count(1)
        self._numbers = itertools.count(1)
        self._active = [
            self._fresh(lists=number >= REGISTERS) for number in range(REGISTERS + LISTS)
        ]

    def _fresh(self, *, lists: bool) -> Key:
        key = Key(f"{'list' if lists else 'register'}-{next(self._numbers)}", lists)
        self.keys[key.name] = key
        return key

    def pick(self) -> Key:
        """One of the keys in use; a used up one is replaced."""
        number = self._dice.randrange(len(self._active))
        key = self._active[number]
        key.uses -= 1
        if key.uses <= 0:
            self._active[number] = self._fresh(lists=key.lists)
        return key

    def value(self) -> str:
        """A value that was never used."""
        return str(next(self._values))

    def record(self, operation: Operation) -> None:
        """An operation has ended, for its client."""
        self.operations.append(operation)
        if operation.outcome is Outcome.OK and operation.kind not in (Kind.READ, Kind.LIST):
            self.acknowledged += 1
            self.acknowledged_at = max(self.acknowledged_at, operation.began)

    def failed(self, client: str, what: str, error: SwarmError) -> None:
        """A call raised; faults explain most errors, but not these."""
        self.errors[type(error).__name__] += 1
        if isinstance(error, (NotFound, DataLoss)) or error.code in ("UNKNOWN", "INTERNAL"):
            self.wrong.append(f"{client}: {what}: {type(error).__name__}: {error.message}")


@dataclass(slots=True)
class Client:
    """One caller with a connection to one manager. One that only reads is never held up by a write,
    so it still asks a leader that was deposed and does not know it."""

    name: str
    socket: Path
    journal: Journal
    dice: Random
    pace_seconds: float
    reads_only: bool = False
    _connection: Connection = field(init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """One operation after the other until `stop`."""
        async with Connection(self.socket) as self._connection:
            while not stop.is_set():
                await asyncio.sleep(self.dice.uniform(0, 2 * self.pace_seconds))
                if not await self._operate(self.journal.pick()):
                    await asyncio.sleep(ABSENT_SECONDS)

    def _patience(self) -> float:
        return self.dice.uniform(*CALL_SECONDS)

    async def _operate(self, key: Key) -> bool:
        """Do one thing; whether the manager answered."""
        if not key.there:
            return await self._create(key)
        if self.reads_only:
            return await self._read(key) is not None
        choice = self.dice.random()
        if key.lists:
            found = await self._read(key)
            if found is None:
                return False
            if choice < 0.5:
                elements = (*_elements(found), value := self.journal.value())
                labels = {"list": ",".join(elements)}
                return await self._write(key, Kind.APPEND, value, labels, found)
            return True
        if choice < 0.4:
            return await self._read(key) is not None
        value = self.journal.value()
        if choice < 0.7:
            return await self._write(key, Kind.WRITE, value, {"value": value})
        found = await self._read(key)
        return found is not None and await self._write(
            key, Kind.SWAP, value, {"value": value}, found
        )

    async def _create(self, key: Key) -> bool:
        request = control_pb2.CreatePayloadRequest()
        request.spec.name, request.spec.data = key.name, b"chaos"
        control = self._connection.control
        try:
            try:
                await self._connection.call(control.CreateConfig(request, timeout=self._patience()))
            except AlreadyExists:
                # That may be said of a creation which is under way and gets lost.
                reference = control_pb2.Reference(ref=key.name)
                await self._connection.call(control.GetConfig(reference, timeout=self._patience()))
        except NotFound:
            return True
        except SwarmError as error:
            self.journal.failed(self.name, f"create {key.name}", error)
            return False
        key.there = True
        return True

    async def _read(self, key: Key) -> Any | None:
        request = control_pb2.Reference(ref=key.name)
        began = time.monotonic()
        try:
            call = self._connection.control.GetConfig(request, timeout=self._patience())
            found = await self._connection.call(call)
        except SwarmError as error:
            self.journal.failed(self.name, f"read {key.name}", error)
            return None
        self.journal.record(_seen(self.name, key, found, began))
        return found

    async def _write(
        self, key: Key, kind: Kind, value: str, labels: dict[str, str], over: Any = None
    ) -> bool:
        """Replace the labels: at the version of `over`, or whatever they are without one."""
        request = control_pb2.UpdatePayloadRequest(id=key.name)
        request.spec.name = key.name
        request.spec.labels.update(labels)
        if over is not None:
            request.version = over.meta.version
        outcome = Outcome.OK
        began = time.monotonic()
        try:
            call = self._connection.control.UpdateConfig(request, timeout=self._patience())
            await self._connection.call(call)
        except SequenceConflict:
            outcome = Outcome.FAILED
        except SwarmError as error:
            outcome = Outcome.UNKNOWN
            self.journal.failed(self.name, f"write {key.name}", error)
        self.journal.record(
            Operation(
                client=self.name,
                key=key.name,
                kind=kind,
                value=value,
                expected=_value(over) if kind is Kind.SWAP else None,
                outcome=outcome,
                began=began,
                returned=math.inf if outcome is Outcome.UNKNOWN else time.monotonic(),
            )
        )
        return outcome is not Outcome.UNKNOWN


def _value(found: Any) -> str | None:
    value: str | None = found.spec.labels.get("value")
    return value


def _elements(found: Any) -> tuple[str, ...]:
    text = found.spec.labels.get("list", "")
    return tuple(text.split(",")) if text else ()


def _seen(client: str, key: Key, found: Any, began: float) -> Operation:
    return Operation(
        client=client,
        key=key.name,
        kind=Kind.LIST if key.lists else Kind.READ,
        value=None if key.lists else _value(found),
        elements=_elements(found) if key.lists else (),
        began=began,
        returned=time.monotonic(),
    )


async def read_all(name: str, socket: Path, journal: Journal, deadline_seconds: float) -> None:
    """Read every key through one manager, which has this long to come back; a key that is gone is
    put down as a wrong answer."""
    end = time.monotonic() + deadline_seconds
    answer, began = None, 0.0
    async with Connection(socket) as connection:
        while answer is None:
            began = time.monotonic()
            try:
                call = connection.control.ListConfigs(control_pb2.ListRequest(), timeout=30)
                answer = await connection.call(call)
            except SwarmError as error:
                if began > end:
                    journal.wrong.append(f"{name} does not answer after all faults: {error}")
                    return
                await asyncio.sleep(ABSENT_SECONDS)
    found = {config.spec.name: config for config in answer.configs}
    for key in journal.keys.values():
        if key.name in found:
            journal.record(_seen(f"last-{name}", key, found[key.name], began))
        elif key.there:
            journal.wrong.append(f"{name}: {key.name} is gone")
