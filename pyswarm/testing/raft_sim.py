"""Random faults against the core, in virtual time; a seed repeats a run exactly.

python -m pyswarm.testing.raft_sim 17          # one seed, and how it ended
python -m pyswarm.testing.raft_sim 0 1000      # a range
python -m pyswarm.testing.raft_sim disk 0 99   # other worlds: usual, storm, disk
python -m pyswarm.testing.raft_sim --speed     # simulated seconds per second of CPU time
"""

from __future__ import annotations

import sys
import time

from manager.raft.settings import RaftSettings
from pyswarm.testing.raft_node import Violation
from pyswarm.testing.raft_world import TICK, Faults, Simulation

USUAL = Faults()
STORM = Faults(
    time=1500, crash=0.006, partition=0.005, change=0.006, transfer=0.004, drop=0.1, late=0.08
)
DISK = Faults(time=1200, crash=0.01, snapshot=0.02, partition=0.003, files=True)
WORLDS = {"usual": USUAL, "storm": STORM, "disk": DISK}


def run_seed(seed: int, faults: Faults | None = None) -> Simulation:
    """Run one seed; a failure says how to repeat it."""
    simulation = Simulation(seed, faults)
    try:
        simulation.run()
    except Exception as error:
        world = next((f"{name} " for name, w in WORLDS.items() if w == faults), "")
        raise Violation(
            f"{error}\nrepeat with: python -m pyswarm.testing.raft_sim {world}{seed}   "
            f"(at time {simulation.now})"
        ) from error
    return simulation


SPEED = Faults(
    time=200_000,
    proposal=0.006,
    read=0.001,
    drop=0.001,
    duplicate=0.001,
    delay=1,
    late=0.0005,
    write_time=1,
    crash=0.00003,
    disconnect=0.00003,
    pause=0.00003,
    partition=0.00003,
    slow_disk=0.00003,
    disk_full=0.00001,
    drift=0.02,
    slow_apply=0.001,
    transfer=0.00003,
    change=0.00002,
    members=4,
    least=3,
    snapshot=0.001,
)
"""A cluster of a bad week: each fault every few minutes, one write a second (1 or 4 at a time)."""


def measure(seed: int) -> tuple[float, float]:
    """Simulated seconds, and CPU-seconds: 3 members, the default settings, every check."""
    settings = RaftSettings()
    start = time.process_time()
    world = Simulation(seed, SPEED, settings=settings, voters=3)
    world.run()
    return world.now / TICK * settings.tick_seconds, time.process_time() - start


def tell_speed(seeds: int) -> None:
    """Print how fast it is in all, and between which bounds other work on the machine moved it."""
    runs = [measure(seed) for seed in range(seeds)]
    simulated, spent = map(sum, zip(*runs, strict=True))
    rates = sorted(seconds / cpu for seconds, cpu in runs)
    print(
        f"{simulated / spent:.0f} simulated seconds per CPU-second "
        f"({simulated:.0f} s in {seeds} runs, each {rates[0]:.0f} to {rates[-1]:.0f})"
    )


def main() -> None:
    """Run the seeds of the command line."""
    words = sys.argv[1:]
    if words == ["--speed"]:
        tell_speed(10)
        return
    faults = WORLDS[words.pop(0)] if words[0] in WORLDS else USUAL
    first = int(words[0])
    last = int(words[1]) if len(words) > 1 else first
    commits = elections = 0
    for seed in range(first, last + 1):
        simulation = run_seed(seed, faults)
        commits += simulation.commits
        elections += len(simulation.observer.leaders)
    print(f"{last - first + 1} seeds, {commits} entries applied, {elections} leaders: no violation")


if __name__ == "__main__":
    main()
