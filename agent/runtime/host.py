"""Reads what this machine is like."""

from __future__ import annotations

import platform
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.runtime import capabilities
from agent.runtime.facts import HostFacts

CGROUPS: Final = Path("/sys/fs/cgroup")
_INITS: Final = ("/usr/bin/tini-static", "/usr/libexec/docker/docker-init", "/usr/bin/docker-init")
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CAP_SYS_RESOURCE: Final = "CAP_SYS_RESOURCE"


def architecture() -> str:
    """In Go's words, as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def facts() -> HostFacts:
    """Read from /proc and /sys; cheap enough to be done at each start of the daemon."""
    unified = (CGROUPS / "cgroup.controllers").exists()
    bounding = _bounding()
    limited = bounding is not None and _CAP_SYS_RESOURCE not in bounding
    limits: dict[str, int] = {}
    if limited:
        names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
        limits = {
            name.removeprefix("RLIMIT_").lower(): resource.getrlimit(getattr(resource, name))[1]
            for name in names
        }
    return HostFacts(
        architecture=architecture(),
        unified_cgroups=unified,
        swap_accounting=unified or (CGROUPS / "memory/memory.memsw.limit_in_bytes").exists(),
        capabilities=bounding,
        hard_limits={name: most for name, most in limits.items() if most >= 0},
        oom_score_adjust_min=int(_text("/proc/self/oom_score_adj") or 0) if limited else -1000,
        init_path=next((path for path in _INITS if Path(path).is_file()), ""),
    )


def was_out_of_memory(cgroups_path: str) -> bool:
    """Whether the kernel killed a process of this cgroup for want of memory; the counters live
    as long as the cgroup, which is until the container is deleted."""
    inner = cgroups_path.lstrip("/")
    for path in (
        CGROUPS / "memory" / inner / "memory.oom_control",
        CGROUPS / inner / "memory.events",
    ):
        for line in _text(str(path)).splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.strip() not in ("", "0"):
                return True
    return False


def make_cgroup_parent(path: str) -> None:
    """Make the parent of all containers' cgroups, in every hierarchy, so that a node without
    containers looks the same before its first and after its last. runc makes it where we fail."""
    inner = path.lstrip("/")
    unified = (CGROUPS / "cgroup.controllers").exists()
    for root in (CGROUPS,) if unified else CGROUPS.iterdir():
        if root.is_dir() and not root.is_symlink() and (root / "cgroup.procs").exists():
            with suppress(OSError):
                (root / inner).mkdir(parents=True, exist_ok=True)


def _bounding() -> frozenset[str] | None:
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("CapBnd:"):
            return capabilities.from_mask(int(line.split()[1], 16))
    return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
