"""How often what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyswarm.testing.plane.network import CALM, Weather


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What may go wrong, as mean seconds between two of a kind (0: never)."""

    name: str = "usual"
    seconds: float = 60.0
    managers: int = 3
    workers: int = 2
    services: int = 6
    change_every: float = 1.0
    weather: Weather = Weather(drop=0.02, duplicate=0.02, late=0.02)
    partition: float = 15.0
    pause: float = 20.0
    kill: float = 20.0
    power_cut: float = 30.0
    slow_disk: float = 40.0
    full_disk: float = 60.0
    clock: float = 40.0
    container: float = 8.0
    members: float = 45.0
    drift: float = 0.002
    skew_seconds: float = 1.0
    partition_seconds: float = 15.0
    """How long one lasts at most."""
    lease_seconds: float = 0.0
    """How long services let their tasks run on a node without a manager (0: for ever)."""


USUAL = Faults()
STORM = Faults(
    name="storm",
    weather=Weather(delay=0.01, drop=0.1, duplicate=0.1, late=0.1),
    partition=6,
    pause=8,
    kill=6,
    power_cut=10,
    slow_disk=15,
    full_disk=25,
    clock=15,
    container=4,
    members=12,
)
BUSY = Faults(
    name="busy",
    change_every=0.3,
    container=0.5,
    partition=20,
    pause=10,
    kill=0,
    power_cut=0,
    members=0,
)
"""Many changes meet many failures of containers."""
ELECTIONS = Faults(
    name="elections",
    partition=4,
    pause=3,
    kill=8,
    power_cut=0,
    full_disk=10,
    slow_disk=10,
    members=0,
)
"""The leadership moves every few seconds."""
CUTS = replace(STORM, name="cuts", change_every=0.4, power_cut=3, members=0)
"""Agents wake up with the memory of a moment ago, and much has changed since."""
QUIET = Faults(
    name="quiet",
    weather=CALM,
    partition=0,
    pause=0,
    kill=0,
    power_cut=0,
    slow_disk=0,
    full_disk=0,
    clock=0,
    container=0,
    members=0,
    drift=0,
    skew_seconds=0,
)
LEASES = Faults(
    name="leases",
    partition=20,
    partition_seconds=60,
    pause=0,
    kill=0,
    power_cut=0,
    slow_disk=0,
    full_disk=0,
    clock=0,
    members=0,
    lease_seconds=10,
)
"""No slot ever has two tasks; what keeps that is a daemon that runs and a clock that goes. Few long
partitions: with many at once no managers are left to start another task."""
PRESETS = {faults.name: faults for faults in (USUAL, STORM, BUSY, ELECTIONS, CUTS, QUIET, LEASES)}
"""The words of the command line."""
