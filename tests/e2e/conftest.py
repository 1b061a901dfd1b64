"""Fixtures of the end-to-end tests: a lab for a module, or one for a single test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings, missing_for_lab, running_lab


def settings_of(request: pytest.FixtureRequest) -> LabSettings:
    return getattr(request.module, "LAB", LabSettings())


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[LabDriver]:
    """The module's lab, shared by its tests: each leaves it healed, with every host on."""
    if reason := missing_for_lab():
        pytest.skip(reason)
    with running_lab(settings_of(request)) as driver:
        yield driver


@pytest.fixture
def fresh_lab(request: pytest.FixtureRequest) -> Iterator[LabDriver]:
    """A lab for one test."""
    if reason := missing_for_lab():
        pytest.skip(reason)
    with running_lab(settings_of(request)) as driver:
        yield driver
