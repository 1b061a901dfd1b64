"""Disasters that chance rarely finds. On a correct core each runs through; it asserts a promise."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from pyswarm.testing.raft_scenarios import commits, members, votes


def _told_in(module: object) -> dict[str, Callable[[], object]]:
    """The functions of a module that need nothing."""
    return {
        name: told
        for name, told in inspect.getmembers(module, inspect.isfunction)
        if told.__module__ == getattr(module, "__name__", "")
        and not inspect.signature(told).parameters
    }


SCENARIOS: dict[str, Callable[[], object]] = {
    name: told for module in (votes, commits, members) for name, told in _told_in(module).items()
}
"""By name."""
