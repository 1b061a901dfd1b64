"""The simulation has teeth: those bugs of the catalogue that a few seeds find.

The rest takes minutes: `pyswarm/testing/planted_bugs/plane.py`.
"""

from __future__ import annotations

import pytest

from pyswarm.testing.planted_bugs import hunt
from pyswarm.testing.planted_bugs.plane import BUGS

BY_NAME = {bug.name: bug for bug in BUGS}
QUICK = (
    "other_bytes",
    "early_answer",
    "half_a_snapshot",
    "state_goes_back",
    "ids_again",
    "beside_the_old",
    "stray_runs_on",
)


@pytest.mark.parametrize("name", QUICK)
def test_the_simulation_finds(name: str) -> None:
    outcome = hunt(BY_NAME[name])
    assert outcome.caught, outcome


def test_each_bug_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(BUGS) >= 15
