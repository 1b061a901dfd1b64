"""The OCI runtime configuration of a container, with Docker's defaults (runtime-spec 1.0.2).

Compared with the configuration that dockerd 20.10 writes in the tests. Where it differs: the
network namespace is the caller's, and the powercap files are masked, as newer Docker does.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.executor.containers import ContainerRequest
from agent.runtime import capabilities, command, seccomp
from agent.runtime.facts import HostFacts
from agent.runtime.users import Identity
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    Resources,
    Ulimit,
)
from pyswarm.model.kernel import LIMITS, PROPAGATIONS
from pyswarm.registry.documents import ImageConfig

INIT_TARGET: Final = "/sbin/docker-init"
CPU_PERIOD_MICROSECONDS: Final = 100_000
CPU_QUOTA_MICROSECONDS_MIN: Final = 1000
MASKED_PATHS: Final = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/sys/firmware", "/sys/devices/virtual/powercap"),
)
READONLY_PATHS: Final = (
    *("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),
)
# destination, type, source, options
_MOUNTS: Final = (
    ("/proc", "proc", "proc", "nosuid noexec nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "ro nosuid noexec nodev"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=67108864"),
)
# major and minor: null, zero, full, tty, random, urandom, console, ptmx, and every pty.
_DEVICES: Final = ((1, 3), (1, 5), (1, 7), (5, 0), (1, 8), (1, 9), (5, 1), (5, 2), (136, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What runs in the container, resolved by the image: `Command` of the one who builds."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    workdir: str
    identity: Identity


def program(request: ContainerRequest, image: ImageConfig, identity: Identity) -> Program:
    """The service's wishes laid over the image's."""
    container = request.container
    argv = command.argv(container, image)
    return Program(
        argv=command.with_init(argv, INIT_TARGET) if container.init else argv,
        env=command.environment(container, image, request.hostname, container.tty),
        workdir=command.working_directory(container, image),
        identity=identity,
    )


def build(
    request: ContainerRequest, runs: Program, host: HostFacts, cgroups_path: str
) -> dict[str, Any]:
    """The configuration; raises SwarmError for a wish that cannot be fulfilled here."""
    container = request.container
    kept = capabilities.resolve(
        container.capability_add, container.capability_drop, host.capabilities
    )
    namespaces: list[dict[str, str]] = [{"type": kind} for kind in ("mount", "uts", "pid", "ipc")]
    network = {"type": "network"}
    namespaces.append(network | ({"path": request.namespace} if request.namespace else {}))
    if host.unified_cgroups:
        namespaces.append({"type": "cgroup"})
    linux = {
        "namespaces": namespaces,
        "resources": _resources(request.limits, request.memory_swap, host),
        "cgroupsPath": cgroups_path,
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READONLY_PATHS),
        "seccomp": seccomp.profile(kept, host.architecture),
    }
    if container.sysctls:
        linux["sysctl"] = dict(container.sysctls)
    return {
        "ociVersion": "1.0.2",
        "process": _process(container, runs, kept, host),
        "root": {"path": "rootfs", "readonly": container.read_only},
        "hostname": request.hostname,
        "mounts": _mounts(request, host),
        "linux": linux,
    }


def _process(
    container: ContainerSpec, runs: Program, kept: Sequence[str], host: HostFacts
) -> dict[str, Any]:
    # No inheritable capabilities: files that have some could take them up (CVE-2022-24769). A user
    # other than root has only the bound, as execve(2) leaves it: runc must not start with more.
    is_root = runs.identity.uid == 0
    sets = ("bounding", "effective", "permitted") if is_root else ("bounding",)
    return {
        "terminal": container.tty,
        "user": {
            "uid": runs.identity.uid,
            "gid": runs.identity.gid,
            "additionalGids": list(runs.identity.additional),
        },
        "args": list(runs.argv),
        "env": list(runs.env),
        "cwd": runs.workdir,
        "capabilities": {name: list(kept) for name in sets},
        "noNewPrivileges": container.no_new_privileges,
        "oomScoreAdj": max(container.oom_score_adj, host.oom_score_adjust_min),
        "rlimits": [_limit(limit, host) for limit in container.ulimits],
    }


def _limit(limit: Ulimit, host: HostFacts) -> dict[str, Any]:
    if limit.name not in LIMITS:
        raise InvalidArgument(f'"{limit.name}" is no resource limit: nofile, nproc, core, ...')
    most = host.hard_limits.get(limit.name, -1)

    def clamped(value: int) -> int:
        # -1 is without limit, here and in setrlimit(2), where it is the largest number.
        return most if most >= 0 and not 0 <= value <= most else value

    unlimited = (1 << 64) - 1
    soft, hard = clamped(limit.soft), clamped(limit.hard)
    return {
        "type": f"RLIMIT_{limit.name.upper()}",
        "soft": soft if soft >= 0 else unlimited,
        "hard": hard if hard >= 0 else unlimited,
    }


def _resources(limits: Resources, swap: MemorySwap | None, host: HostFacts) -> dict[str, Any]:
    devices: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for major, minor in _DEVICES:
        device = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        devices.append(device if minor is None else {**device, "minor": minor})
    resources: dict[str, Any] = {"devices": devices}
    if memory := _memory(limits, swap or MemorySwap(), host):
        resources["memory"] = memory
    if limits.nano_cpus:
        quota = limits.nano_cpus * CPU_PERIOD_MICROSECONDS // 1_000_000_000
        resources["cpu"] = {
            "period": CPU_PERIOD_MICROSECONDS,
            "quota": max(quota, CPU_QUOTA_MICROSECONDS_MIN),
        }
    if limits.pids:
        resources["pids"] = {"limit": limits.pids}
    return resources


def _memory(limits: Resources, swap: MemorySwap, host: HostFacts) -> dict[str, int]:
    memory: dict[str, int] = {}
    if limits.memory_bytes:
        memory["limit"] = limits.memory_bytes
        if host.swap_accounting:
            # Memory and swap together. Without a wish they are equal, which is no swap: or a limit
            # of memory would be one of speed.
            memory["swap"] = -1 if swap.swap_bytes < 0 else limits.memory_bytes + swap.swap_bytes
    if swap.swappiness >= 0 and not host.unified_cgroups:
        # cgroup v2 has no swappiness of a group.
        memory["swappiness"] = swap.swappiness
    return memory


def _mounts(request: ContainerRequest, host: HostFacts) -> list[dict[str, Any]]:
    wanted = list(request.mounts)
    if request.container.init:
        if not host.init_path:
            raise FailedPrecondition(
                "the service asks for an init, and this node has none: install the package tini"
            )
        wanted.append(
            Mount(type=MountType.BIND, source=host.init_path, target=INIT_TARGET, read_only=True)
        )
    placed = [_mount(mount) for mount in wanted]
    taken = {mount["destination"] for mount in placed}
    base = [
        {"destination": target, "type": kind, "source": source, "options": options.split()}
        for target, kind, source, options in _MOUNTS
        if target not in taken
    ]
    # A mount hides what lies below it, so those nearer to the root come first.
    return base + sorted(placed, key=lambda mount: str(mount["destination"]).count("/"))


def _mount(mount: Mount) -> dict[str, Any]:
    target = posixpath.normpath(mount.target)
    if not target.startswith("/") or target in ("/", "//"):
        raise InvalidArgument(f'"{mount.target}" cannot be the target of a mount: write /PATH')
    assert mount.type is not MountType.VOLUME, f"{mount.target}: a volume is a bind by now"
    if mount.propagation and mount.propagation not in PROPAGATIONS:
        raise InvalidArgument(f'"{mount.propagation}" is no propagation of a mount: rprivate, ...')
    access = ["ro"] if mount.read_only else []
    if mount.type is MountType.BIND:
        bind = "bind" if mount.recursion is MountRecursion.DISABLED else "rbind"
        if mount.recursion is MountRecursion.READONLY and mount.read_only:
            access = ["ro", "rro"]
        options = [bind, mount.propagation or "rprivate", *access]
        return {"destination": target, "type": "bind", "source": mount.source, "options": options}
    options = ["noexec", "nosuid", "nodev", "rprivate", *access]
    if mount.tmpfs_size_bytes:
        options.append(f"size={mount.tmpfs_size_bytes}")
    if mount.tmpfs_mode:
        options.append(f"mode={mount.tmpfs_mode:o}")
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}
