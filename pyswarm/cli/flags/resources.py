"""What a task may use, and what is kept for it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import CPUS, SIZE, Single, with_given
from pyswarm.model import ResourceRequirements, Resources

SINGLE = (
    Single("limit-cpu", CPUS, "Limit CPUs"),
    Single("limit-memory", SIZE, "Limit Memory"),
    Single("limit-pids", int, "Limit maximum number of processes"),
    Single("reserve-cpu", CPUS, "Reserve CPUs"),
    Single("reserve-memory", SIZE, "Reserve Memory"),
)


def edit(args: Namespace, old: ResourceRequirements) -> ResourceRequirements:
    """Limits and reservations after the flags."""
    limits = with_given(
        old.limits,
        args,
        {"nano_cpus": "limit-cpu", "memory_bytes": "limit-memory", "pids": "limit-pids"},
    )
    reserve: Resources = with_given(
        old.reservations,
        args,
        {"nano_cpus": "reserve-cpu", "memory_bytes": "reserve-memory"},
    )
    return replace(old, limits=limits, reservations=reserve)
