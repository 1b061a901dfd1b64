"""Two hundred worlds full of faults; in none of them a promise is broken."""

from __future__ import annotations

import pytest

from pyswarm.testing.raft_sim import Faults, run_seed

STORM = Faults(
    time=1500, crash=0.006, partition=0.005, change=0.006, transfer=0.004, drop=0.1, late=0.08
)


@pytest.mark.parametrize("first", range(0, 160, 20))
def test_with_the_usual_faults(first: int) -> None:
    for seed in range(first, first + 20):
        run_seed(seed)


@pytest.mark.parametrize("first", range(10_000, 10_080, 20))
def test_in_a_storm(first: int) -> None:
    for seed in range(first, first + 20):
        run_seed(seed, STORM)


def test_a_seed_repeats_its_run() -> None:
    first, second = run_seed(7), run_seed(7)
    assert first.observer.history == second.observer.history
    assert first.observer.leaders == second.observer.leaders
