"""The simulation has teeth: the quick half of the catalogue, each bug found by its first seed.

`test_seeds.py` runs the same seeds without a bug; the whole catalogue takes minutes.
"""

from __future__ import annotations

import pytest

from pyswarm.testing.plane.loop import Violation
from pyswarm.testing.plane.world import run_seed
from pyswarm.testing.planted_bugs import Bug, Seeds
from pyswarm.testing.planted_bugs.plane import BUGS, FAULTS

SEEDS = range(1, 9)


def first(bug: Bug) -> int:
    assert isinstance(bug.search, Seeds)
    return bug.search.first


@pytest.mark.parametrize("bug", [b for b in BUGS if first(b) in SEEDS], ids=lambda bug: bug.name)
def test_the_simulation_finds(bug: Bug) -> None:
    with bug.plant(), pytest.raises(Violation, match=r"repeat with: python -m pyswarm\.testing"):
        run_seed(first(bug), FAULTS)


def test_each_bug_has_a_name_of_its_own() -> None:
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names) > 10
