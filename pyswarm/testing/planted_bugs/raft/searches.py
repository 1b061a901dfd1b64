"""Where raft's planted bugs are looked for: three worlds of chance, and the directed scenarios."""

from __future__ import annotations

from functools import partial

from pyswarm.testing import raft_scenarios
from pyswarm.testing.planted_bugs import Scenario, Seeds
from pyswarm.testing.raft_sim import DISK, STORM, USUAL, run_seed
from pyswarm.testing.raft_world import Faults


def _world(name: str, faults: Faults) -> Seeds:
    return Seeds(f"raft_sim {name}", partial(run_seed, faults=faults))


usual = _world("usual", USUAL)
storm = _world("storm", STORM)
disk = _world("disk", DISK)


def story(name: str) -> Scenario:
    """A scenario of `raft_scenarios`."""
    return Scenario(name, raft_scenarios.SCENARIOS[name])
