"""A short drill: faults while clients write and read. The long one is `make chaos`."""

from __future__ import annotations

import asyncio

import pytest

from pyswarm.testing.chaos.drill import Drill, Settings, save
from pyswarm.testing.lab import LabDriver, LabSettings

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=3, workers=1)
SECONDS = 40.0


def test_no_acknowledged_write_is_lost_and_no_read_goes_back(lab: LabDriver, tmp_path) -> None:
    settings = Settings(seed=1, seconds=SECONDS)
    report = asyncio.run(Drill(lab, settings, print).run())
    if report.failures:
        save(report, lab, tmp_path)
    assert not report.failures, f"the history and the logs lie in {tmp_path}"
    assert sum(report.faults.values()) >= 3, report.problems
    assert report.journal.acknowledged > 0
    assert any(each.writes_afterwards for each in report.rounds), "writes go on after a fault"
