"""Disasters that chance rarely finds: on a correct core each runs through.

That each would notice its bug is told by `test_planted_bugs`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyswarm.testing.raft_scenarios import SCENARIOS


@pytest.mark.parametrize("play", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_it_ends_well(play: Callable[[], object]) -> None:
    play()
