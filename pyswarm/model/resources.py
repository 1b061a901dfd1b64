"""CPU, memory and platforms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """An amount: CPU in billionths of a core, memory in bytes, processes; 0 is unset."""

    nano_cpus: int = 0
    memory_bytes: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySwap:
    """Swap beyond the memory limit in bytes (-1: without end), and swappiness from 0 to 100 (-1:
    the host's)."""

    swap_bytes: int = 0
    swappiness: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequirements:
    """What a task may use at most and what a node must have free for it."""

    limits: Resources = Resources()
    reservations: Resources = Resources()
    memory_swap: MemorySwap | None = None
    """None: no swap beyond the memory limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Operating system and architecture in Go's words (`linux`, `amd64`)."""

    os: str = ""
    architecture: str = ""
