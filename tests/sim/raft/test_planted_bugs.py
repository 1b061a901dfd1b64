"""The simulation has teeth: bugs that are planted on purpose are found.

Here are those that are found at once; `make bugs` hunts for all. Most of them were real in other
implementations; `manager/raft/README.md` names which.
"""

from __future__ import annotations

import pytest

from pyswarm.testing.planted_bugs import Bug, hunt
from pyswarm.testing.planted_bugs.raft import BUGS

SLOW = {
    "commit-beyond-the-append",
    "install-keeps-the-batch",
    "new-segment-forgets-the-state",
    "pre-vote-counts-as-vote",
    "replay-keeps-replaced-entries",
    "term-and-vote-not-written",
    "torn-tail-kept",
    "torn-tail-refused",
}
"""Chance needs more than a second for these."""


QUICK = [bug for bug in BUGS if bug.name not in SLOW]


@pytest.mark.parametrize("bug", QUICK, ids=lambda bug: bug.name)
def test_the_simulation_finds(bug: Bug) -> None:
    outcome = hunt(bug, budget_seconds=20)
    assert outcome.caught, outcome
    assert outcome.check


def test_names_are_unique_and_the_slow_ones_exist() -> None:
    names = [bug.name for bug in BUGS]
    assert len(names) == len(set(names))
    assert set(names) >= SLOW
    assert len(names) >= 40
