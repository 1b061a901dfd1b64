"""How a container ended, in words for its task's error."""

from __future__ import annotations

from typing import Final

from agent.executor.containers import ContainerExit

KILLED_EXIT_CODE: Final = 137
"""Of a program that SIGKILL ended, and of a shell whose last program was ended so."""


def reason(ended: ContainerExit, limit_bytes: int) -> str:
    """What is known beyond the exit code; `limit_bytes` is the memory limit, 0 without one."""
    if not ended.out_of_memory:
        return ""
    whose = f"limit {_size(limit_bytes)}" if limit_bytes else "of the node"
    if ended.exit_code == KILLED_EXIT_CODE:
        return f"container killed: out of memory ({whose})"
    return f"a process of the container was killed: out of memory ({whose})"


def _size(number: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number >= 1 << power:
            return f"{number / (1 << power):.4g}{unit}"
    return f"{number}B"
