"""Worlds full of faults; in none of them a promise is broken."""

from __future__ import annotations

import pytest

from pyswarm.testing import store_sim
from pyswarm.testing.raft_sim import DISK, STORM, measure, run_seed


@pytest.mark.parametrize("first", range(0, 160, 20))
def test_with_the_usual_faults(first: int) -> None:
    for seed in range(first, first + 20):
        run_seed(seed)


@pytest.mark.parametrize("first", range(10_000, 10_080, 20))
def test_in_a_storm(first: int) -> None:
    for seed in range(first, first + 20):
        run_seed(seed, STORM)


# 2254: a write that was torn within eight bytes of a sector was taken for damage.
@pytest.mark.parametrize("first", [0, 20, 2250])
def test_with_real_disks_that_lose_power(first: int) -> None:
    for seed in range(first, first + 20):
        run_seed(seed, DISK)


def test_with_the_default_settings_for_half_an_hour() -> None:
    seconds, _ = measure(0)
    assert seconds > 1800


def test_with_proposals_that_get_lost() -> None:
    for seed in range(40):
        store_sim.run_seed(seed)


@pytest.mark.parametrize("faults", [None, DISK])
def test_a_seed_repeats_its_run(faults) -> None:
    first, second = run_seed(7, faults), run_seed(7, faults)
    assert first.observer.history == second.observer.history
    assert first.observer.leaders == second.observer.leaders
