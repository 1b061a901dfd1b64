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


def test_seeds_repeat_their_runs_in_another_process() -> None:
    """Whatever hashes of strings and addresses of objects are there: no set gives its order on."""

    def digests(hash_seed: str) -> list[str]:
        arguments = ("18", "20", "--faults", "storm", "--seconds", "40")
        command = [sys.executable, "-m", "pyswarm.testing.plane", *arguments]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [line.rpartition("digest ")[2] for line in done.stdout.splitlines()]

    first = digests("1")
    assert len(first) == 3
    assert first == digests("7")


def test_a_seed_repeats_its_run_after_others_in_the_same_process() -> None:
    before = run_seed(3, SHORT).digest()
    run_seed(5, SHORT)
    assert run_seed(3, SHORT).digest() == before
