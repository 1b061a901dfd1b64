"""Tasks and daemons are killed at random, and the swarm comes back to what it was asked for."""

from __future__ import annotations

import pytest

from pyswarm.testing.kills import Kills
from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import push_site

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=2)
KILLS = 20


def test_the_desired_state_is_reached_after_each_of_twenty_kills(lab: LabDriver) -> None:
    kills = Kills(lab, push_site(lab), 11, print)
    kills.run(KILLS)
    assert sum(kills.done.values()) == KILLS
    assert len(kills.done) == 3, "each kind of kill came"
