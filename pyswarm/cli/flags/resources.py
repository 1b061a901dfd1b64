"""What a task may use, and what is kept for it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import CPUS, SIZE, Single, typed, whole, with_given
from pyswarm.compose.values import swap_bytes
from pyswarm.errors import InvalidArgument
from pyswarm.model import MemorySwap, ResourceRequirements, Resources

SWAPPINESS_MAX = 100


def swappiness(text: str) -> int:
    """From 0 to 100, or -1."""
    number = whole(-1)(text)
    if number > SWAPPINESS_MAX:
        raise InvalidArgument(f"use a whole number from 0 to {SWAPPINESS_MAX}, or -1")
    return number


SINGLE = (
    Single("limit-cpu", CPUS, "Limit CPUs"),
    Single("limit-memory", SIZE, "Limit Memory"),
    Single("limit-pids", whole(), "Limit maximum number of processes"),
    Single("memory-swap", typed(swap_bytes, "size, nor -1"), "Swap bytes (-1 for unlimited)"),
    Single("memory-swappiness", swappiness, "Tune memory swappiness (0 to 100), -1: the host's"),
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
    given = with_given(
        old.memory_swap or MemorySwap(),
        args,
        {"swap_bytes": "memory-swap", "swappiness": "memory-swappiness"},
    )
    # What asks for nothing is not kept, so that a task is not replaced for it.
    memory_swap = None if given == MemorySwap() else given
    return replace(old, limits=limits, reservations=reserve, memory_swap=memory_swap)
