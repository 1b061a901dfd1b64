"""The simulations are tested too: bugs that are planted on purpose, each of which must be found.

A catalogue is a module with `BUGS`; `python -m pyswarm.testing.planted_bugs` runs all of them. Each
bug patches production code, and names the search that has to notice it: random seeds of a
simulation, or a directed scenario where chance would need too long. What a search finds must pass
without the bug, or it would prove nothing.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

BUDGET_SECONDS = 120.0
"""CPU time in which a bug has to be found."""

Try = tuple[str, Callable[[], object]]
"""What is tried, in words that repeat it; the call raises where a check fails."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Chance: `run(seed)` for one seed after the other."""

    name: str
    run: Callable[[int], object]
    first: int = 0

    def tries(self) -> Iterator[Try]:
        """One for each seed, without end."""
        for seed in itertools.count(self.first):
            yield f"{self.name} {seed}", partial(self.run, seed)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story, told by `run`."""

    name: str
    run: Callable[[], object]

    def tries(self) -> Iterator[Try]:
        """Only one."""
        yield self.name, self.run


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug. `plant` patches production code while its context lasts."""

    name: str
    sentence: str
    plant: Callable[[], AbstractContextManager[None]]
    search: Seeds | Scenario


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a hunt ended; `check` is the first line of what failed."""

    name: str
    caught: bool
    where: str
    check: str
    cpu_seconds: float


@contextmanager
def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Replace attributes (owner, name, value) while the context lasts."""
    with ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


class Endless(BaseException):
    """A try that does not come to an end within the budget."""


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Endless

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def hunt(bug: Bug, budget_seconds: float = BUDGET_SECONDS) -> Outcome:
    """Plant the bug and search for it, until it is found or the CPU time is over."""
    try:
        with _no_longer_than(2 * budget_seconds):
            return _hunt(bug, budget_seconds)
    except Endless:
        return Outcome(bug.name, False, bug.search.name, "a try does not end", 2 * budget_seconds)


def _hunt(bug: Bug, budget_seconds: float) -> Outcome:
    start = time.process_time()
    where = "nothing tried"
    for where, run in bug.search.tries():
        with bug.plant():
            check = _failure(run)
        spent = time.process_time() - start
        if check:
            innocent = _failure(run)
            if innocent:
                return Outcome(bug.name, False, where, f"fails without it too: {innocent}", spent)
            return Outcome(bug.name, spent <= budget_seconds, where, check, spent)
        if spent > budget_seconds:
            break
    return Outcome(bug.name, False, where, "", time.process_time() - start)


def _failure(run: Callable[[], object]) -> str:
    try:
        run()
    except Exception as error:
        first = str(error).partition("\n")[0]
        cause = error.__cause__ or error
        return first if isinstance(cause, AssertionError) and first else f"{cause!r}"
    return ""


Plant = Callable[[], AbstractContextManager[None]]


class Catalogue(list[Bug]):
    """Bugs, each written as the function that plants it; its name is the bug's."""

    def add(self, sentence: str, search: Seeds | Scenario) -> Callable[[Plant], Plant]:
        """Decorate the function."""

        def register(plant: Plant) -> Plant:
            self.append(Bug(plant.__name__.replace("_", "-"), sentence, plant, search))
            return plant

        return register
