"""What a container uses, read from its cgroup (both versions) and its network namespace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.executor.programs import ContainerUse
from agent.runtime.host import CGROUPS

UNLIMITED: Final = 1 << 60
"""The kernel's "no limit" of cgroup v1 is the largest page-aligned number; all above count so."""

Read = Callable[[str], str]
"""The text of a file of the cgroup, named by controller and file ("memory/memory.stat"); empty
where there is none."""


def number(text: str) -> int:
    """A file with one number; "max" and what is not there are 0, as is a limit that is none."""
    text = text.strip()
    found = int(text) if text.isdecimal() else 0
    return 0 if found >= UNLIMITED else found


def pairs(text: str) -> dict[str, int]:
    """Lines of `key number`."""
    found = (line.split() for line in text.splitlines())
    return {p[0]: int(p[1]) for p in found if len(p) == 2 and p[1].isdecimal()}


def block_v1(text: str) -> tuple[int, int]:
    """Bytes read and written, of `8:0 Read 4096` lines for all devices."""
    sums = {"Read": 0, "Write": 0}
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1] in sums and parts[2].isdecimal():
            sums[parts[1]] += int(parts[2])
    return sums["Read"], sums["Write"]


def block_v2(text: str) -> tuple[int, int]:
    """Bytes read and written, of `8:0 rbytes=4096 wbytes=0 ...` lines for all devices."""
    read = written = 0
    for line in text.splitlines():
        fields = dict(part.partition("=")[::2] for part in line.split()[1:])
        read += number(fields.get("rbytes", ""))
        written += number(fields.get("wbytes", ""))
    return read, written


def network(text: str) -> tuple[int, int]:
    """Bytes received and sent over all interfaces of /proc/PID/net/dev but the loopback."""
    received = sent = 0
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if colon and name.strip() != "lo" and len(fields) >= 9:
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def use_v1(read: Read, devices: str, at: float) -> ContainerUse:
    """From the files of cgroup v1; memory as Docker counts it, without idle pages of files."""
    memory = pairs(read("memory/memory.stat"))
    block_read, block_written = block_v1(read("blkio/blkio.throttle.io_service_bytes_recursive"))
    received, sent = network(devices)
    used = number(read("memory/memory.usage_in_bytes"))
    return ContainerUse(
        at=at,
        cpu_seconds=number(read("cpuacct/cpuacct.usage")) / 1e9,
        memory_bytes=max(0, used - memory.get("total_inactive_file", 0)),
        memory_limit_bytes=number(read("memory/memory.limit_in_bytes")),
        block_read_bytes=block_read,
        block_written_bytes=block_written,
        network_received_bytes=received,
        network_sent_bytes=sent,
        pids=number(read("pids/pids.current")),
        pids_limit=number(read("pids/pids.max")),
    )


def use_v2(read: Read, devices: str, at: float) -> ContainerUse:
    """From the files of cgroup v2."""
    memory = pairs(read("memory.stat"))
    block_read, block_written = block_v2(read("io.stat"))
    received, sent = network(devices)
    return ContainerUse(
        at=at,
        cpu_seconds=pairs(read("cpu.stat")).get("usage_usec", 0) / 1e6,
        memory_bytes=max(0, number(read("memory.current")) - memory.get("inactive_file", 0)),
        memory_limit_bytes=number(read("memory.max")),
        block_read_bytes=block_read,
        block_written_bytes=block_written,
        network_received_bytes=received,
        network_sent_bytes=sent,
        pids=number(read("pids.current")),
        pids_limit=number(read("pids.max")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def look(cgroups_path: str, pid: int) -> ContainerUse:
    """One look at a container's cgroup, and at the network namespace of its process."""
    inner = cgroups_path.lstrip("/")
    devices = _text(Path(f"/proc/{pid}/net/dev")) if pid else ""
    now = time.monotonic()
    if (CGROUPS / "cgroup.controllers").exists():
        return use_v2(lambda name: _text(CGROUPS / inner / name), devices, now)

    def read(name: str) -> str:
        controller, _, file = name.partition("/")
        return _text(CGROUPS / controller / inner / file)

    return use_v1(read, devices, now)
