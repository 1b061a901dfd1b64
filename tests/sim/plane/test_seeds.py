"""Whole swarms in storms of faults; in none of them a promise is broken, and all come to rest."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pyswarm.testing.plane.faults import BUSY, ELECTIONS, LEASES, QUIET, STORM, USUAL, Faults
from pyswarm.testing.plane.world import run_seed

SHORT = replace(STORM, seconds=40.0)


@pytest.mark.parametrize("seed", range(1, 7))
def test_in_a_storm(seed: int) -> None:
    run_seed(seed, SHORT)


@pytest.mark.parametrize("faults", [USUAL, BUSY, ELECTIONS], ids=lambda faults: faults.name)
def test_with_other_faults(faults: Faults) -> None:
    run_seed(1, replace(faults, seconds=40.0))


@pytest.mark.parametrize("seed", range(1, 4))
def test_with_leases_no_slot_has_two_tasks_on_either_side_of_a_partition(seed: int) -> None:
    run_seed(seed, LEASES)


def test_without_faults_every_change_is_made() -> None:
    world = run_seed(2, replace(QUIET, seconds=20.0))
    assert world.users.done == world.users.begun >= 15
    assert world.users.refused == 0
    assert len(world.observer.leaders) == 1


def test_the_storm_does_what_it_says() -> None:
    """A storm in which nothing happens would find nothing."""
    told = " ".join(" ".join(run_seed(seed, SHORT).trace) for seed in (1, 2))
    for fault in ("partition", "pause", "kill", "power cut", "slow", "full", "clock", "joins"):
        assert fault in told, fault


def test_a_seed_repeats_its_run_in_another_process() -> None:
    def digest(hash_seed: str) -> str:
        arguments = ("4", "--faults", "storm", "--seconds", "20")
        command = [sys.executable, "-m", "pyswarm.testing.plane", *arguments]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.rpartition("digest ")[2]

    assert digest("1") == digest("2") != ""
