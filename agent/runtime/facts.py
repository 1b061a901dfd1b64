"""What the machine and the runtime are like, as values; read by `host.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """`containerd`, and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What bounds a container's configuration on this machine."""

    architecture: str = "amd64"
    """In Go's words."""
    unified_cgroups: bool = False
    """cgroup v2 alone; hybrid counts as v1, since the controllers are there."""
    swap_accounting: bool = True
    capabilities: frozenset[str] | None = None
    """What containers may be given at most; None: not known."""
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    """Our own hard limits ("nofile"), where we may not raise them; else empty."""
    oom_score_adjust_min: int = -1000
    """The least badness that we may give: our own, without CAP_SYS_RESOURCE."""
    init_path: str = ""
    """A static init that reaps children; empty where there is none."""
