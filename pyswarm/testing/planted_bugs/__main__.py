"""Run the catalogues of planted bugs, and say what was caught.

python -m pyswarm.testing.planted_bugs [raft|plane] [--only NAME] [--format table|json]

A run that was interrupted goes on where it was, as long as no source has changed. The exit code is
1 where a bug was missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from pyswarm.testing.planted_bugs import BUDGET_SECONDS, Bug, Outcome, hunt

CATALOGUES = ("raft", "plane")
"""Modules beside this one that have `BUGS`."""
STATE = Path("build/planted-bugs.json")
ROOT = Path(__file__).parents[3]
SOURCES = ("manager", "agent", "pyswarm/testing")


def catalogue(part: str | None = None) -> list[Bug]:
    """All bugs, or those of one catalogue."""
    names = [part] if part else CATALOGUES
    modules = (importlib.import_module(f"pyswarm.testing.planted_bugs.{name}") for name in names)
    return [bug for module in modules for bug in module.BUGS]


def fingerprint() -> str:
    """Of the sources: what was found in others does not count."""
    digest = sha256()
    for top in SOURCES:
        for path in sorted((ROOT / top).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class State:
    """The outcomes of a run that was interrupted, on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sources = fingerprint()
        self._known: dict[str, Outcome] = {}
        if path.exists():
            saved = json.loads(path.read_text())
            if saved["sources"] == self._sources:
                self._known = {name: Outcome(**found) for name, found in saved["found"].items()}

    def get(self, name: str) -> Outcome | None:
        """How the hunt for this bug ended."""
        return self._known.get(name)

    def add(self, outcome: Outcome) -> None:
        """Remember."""
        self._known[outcome.name] = outcome
        found = {name: dataclasses.asdict(known) for name, known in self._known.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"sources": self._sources, "found": found}))
        temporary.replace(self._path)

    def forget(self) -> None:
        """The run has come to its end."""
        self._path.unlink(missing_ok=True)


def run(bugs: list[Bug], state: State | None) -> Iterator[Outcome]:
    """The outcome of each, from the state where it is known."""
    for bug in bugs:
        outcome = state.get(bug.name) if state is not None else None
        if outcome is None:
            outcome = hunt(bug)
            if state is not None:
                state.add(outcome)
        yield outcome


def row(outcome: Outcome) -> str:
    """One line of the table."""
    verdict = "caught" if outcome.caught else "MISSED"
    seconds = f"{outcome.cpu_seconds:6.1f} s"
    return f"{verdict} {seconds}  {outcome.name:38} {outcome.where}: {outcome.check[:90]}"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pyswarm.testing.planted_bugs")
    parser.add_argument("part", nargs="?", choices=CATALOGUES, help="one catalogue alone")
    parser.add_argument("--only", metavar="NAME", action="append", help="hunt for this bug alone")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    options = parser.parse_args(arguments)
    bugs = catalogue(options.part)
    if options.only:
        unknown = set(options.only) - {bug.name for bug in bugs}
        if unknown:
            parser.error(f"there is no bug {sorted(unknown)[0]}")
        bugs = [bug for bug in bugs if bug.name in options.only]
    state = None if options.only else State(STATE)
    outcomes = []
    for outcome in run(bugs, state):
        outcomes.append(outcome)
        if options.format == "table":
            print(row(outcome), flush=True)
    if state is not None:
        state.forget()
    missed = [outcome.name for outcome in outcomes if not outcome.caught]
    if options.format == "json":
        print(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=2))
    else:
        total = sum(outcome.cpu_seconds for outcome in outcomes)
        print(
            f"{len(outcomes) - len(missed)} of {len(outcomes)} planted bugs caught, each within "
            f"{BUDGET_SECONDS:.0f} s of CPU time; {total:.0f} s in all"
        )
        if missed:
            print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
