"""A cgroup tree for each host, under cgroup v1, the hybrid layout, and v2.

The tree is `pyswarm-lab/LAB/HOST` in every mounted hierarchy. It is also the roll of a lab's
processes: whatever lies in `pyswarm-lab/LAB` was started by that lab, whoever crashed meanwhile.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyswarm.errors import FailedPrecondition

TREE = "pyswarm-lab"
# Under v2 a cgroup that distributes controllers may hold no process itself (cgroups(7), "no
# internal processes"), so a host's own programs live in this leaf beside the containers.
LEAF = "init"
CREATE_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """One mounted cgroup hierarchy; `options` is empty for v2."""

    mountpoint: Path
    options: str
    only: bool  # v2 alone on the machine, and therefore the one with the controllers


def hierarchies(mountinfo: str | None = None) -> list[Hierarchy]:
    """The hierarchies of this machine, from proc(5) mountinfo (read when not given)."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    found: list[tuple[Path, str]] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, rest = after.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        words = [word for word in rest.split(" ", 1)[1].split(",") if word not in ("rw", "ro")]
        words = [word for word in words if word.partition("=")[0] not in _NOT_CONTROLLERS]
        found.append((Path(before.split()[4]), ",".join(words) if kind == "cgroup" else ""))
    unique = dict(found)
    return [
        Hierarchy(mountpoint=mountpoint, options=options, only=not options and len(unique) == 1)
        for mountpoint, options in sorted(unique.items())
    ]


_NOT_CONTROLLERS = frozenset(
    ["xattr", "clone_children", "noprefix", "release_agent", "cpuset_v2_mode", "seclabel"]
)


def _delegate(directory: Path) -> None:
    """Hand the controllers of a v2 cgroup down to its children, as far as they are there."""
    available = (directory / "cgroup.controllers").read_text().split()
    for controller in available:
        try:
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            # A container that runs the lab may hold processes in this cgroup: the host then
            # works without limits of this kind, which the daemon reports for its node.
            continue


def _copy_cpuset(directory: Path) -> None:
    """A fresh v1 cpuset is empty and refuses every process until it has cpus and memory nodes. (An
    empty one of v2 has those of its parent.)"""
    for name in ("cpuset.cpus", "cpuset.mems"):
        target = directory / name
        if target.exists() and not target.read_text().strip():
            target.write_text((directory.parent / name).read_text())


def create(lab: str, member: str) -> None:
    """Make the member's cgroup in every hierarchy; what is there stays."""
    for hierarchy in hierarchies():
        for _ in range(CREATE_TRIES):
            if _create(hierarchy, (TREE, lab, member)):
                break
        else:
            place = hierarchy.mountpoint / TREE / lab
            raise FailedPrecondition(f"no cgroup can be made in {place}")


def _create(hierarchy: Hierarchy, parts: tuple[str, ...]) -> bool:
    """False where the end of another lab took the tree away in between."""
    directory = hierarchy.mountpoint
    try:
        for part in parts:
            if hierarchy.only:
                _delegate(directory)
            directory = directory / part
            directory.mkdir(exist_ok=True)
            if hierarchy.options:
                _copy_cpuset(directory)
    except FileNotFoundError:
        if not hierarchy.mountpoint.is_dir():
            raise
        return False
    if hierarchy.only:
        (directory / LEAF).mkdir(exist_ok=True)
    return True


def enter(lab: str, member: str) -> None:
    """Move the calling process into the member's cgroups; before it leaves the namespace."""
    for hierarchy in hierarchies():
        (hierarchy.mountpoint / TREE / lab / member / "cgroup.procs").write_text("0")


def enter_leaf(lab: str, member: str) -> None:
    """Move the calling process out of the member's v2 root into the leaf, and delegate."""
    for hierarchy in hierarchies():
        if hierarchy.only:
            directory = hierarchy.mountpoint / TREE / lab / member
            (directory / LEAF / "cgroup.procs").write_text("0")
            _delegate(directory)


def procs_files(lab: str, member: str) -> list[Path]:
    """The files that take a process into the member's cgroups, to be written with `0`."""
    files = []
    for hierarchy in hierarchies():
        directory = hierarchy.mountpoint / TREE / lab / member
        files.append((directory / LEAF if hierarchy.only else directory) / "cgroup.procs")
    return files


def processes(lab: str, member: str = "") -> set[int]:
    """The processes in the cgroups of one member, or of the whole lab."""
    found: set[int] = set()
    for directory in _directories(lab, member):
        try:
            found.update(int(word) for word in (directory / "cgroup.procs").read_text().split())
        except OSError:
            continue  # removed since it was listed, or a threaded cgroup
    return found - {0}


def remaining(lab: str, member: str = "") -> list[Path]:
    """The cgroup directories that are still there, the deepest first."""
    return _directories(lab, member)


def _directories(lab: str, member: str) -> list[Path]:
    found: list[Path] = []
    for hierarchy in hierarchies():
        top = hierarchy.mountpoint / TREE / lab / member
        found.extend(Path(where) for where, _, _ in os.walk(top, topdown=False))
    return found


def remove(lab: str, member: str = "", deadline_seconds: float = 10.0) -> list[Path]:
    """Remove the cgroups of a member or a lab whose processes are dead; returns what stays.

    A killed process leaves its cgroup only when the kernel has torn it down, hence the deadline.
    """
    end = time.monotonic() + deadline_seconds
    while left := _directories(lab, member):
        for directory in left:
            try:
                directory.rmdir()
            except OSError:
                continue  # busy: it is in the next listing
        if time.monotonic() > end:
            return _directories(lab, member)
        time.sleep(0.02)
    for hierarchy in hierarchies():
        with suppress(OSError):  # it is the tree of other labs too, which come and go meanwhile
            (hierarchy.mountpoint / TREE).rmdir()
    return []
