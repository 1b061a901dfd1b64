"""The volumes of this node on its disk.

<state>/<name>/_data        the content, or where the volume's device is mounted
<state>/<name>/opts.json    labels, options and the time at which it was made
<state>/.<name>.removing    renamed first, so that half of a volume is never used
<run>/<name>/<task id>      a mark for each task that has it mounted; a reboot takes them away,
                            and the mounts with them
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from agent.volumes.options import BIND, MountPlan, mount_plan
from agent.volumes.report import NodeVolume
from pyswarm.errors import InvalidArgument, SwarmError, Unavailable
from pyswarm.model import VolumeSpec

log = logging.getLogger(__name__)

VOLUME_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_OCTAL: Final = re.compile(rb"\\(\d{3})")
_MNT_DETACH: Final = 0x2
_MS_REMOUNT: Final = 0x20
_libc = ctypes.CDLL(None, use_errno=True)


class VolumeDirectory:
    """The volumes of one agent; may be used from several threads."""

    def __init__(self, state: Path, run: Path) -> None:
        self._state = state
        self._run = run
        self._locks: dict[str, threading.Lock] = {}
        self._going: frozenset[str] = frozenset()
        self._unproven: set[str] = set()
        self._names = threading.Lock()
        for path in (state, run):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in state.glob(".*.removing"):
            shutil.rmtree(left, ignore_errors=True)

    def refuse(self, names: Collection[str]) -> None:
        """The volumes that the managers want removed: no task may begin to use one."""
        self._going = frozenset(names)

    def use(self, task_id: str, spec: VolumeSpec) -> Path:
        """The directory of a volume for a task, made and mounted where it is not yet. A volume
        that is here already stays as it was made; one that cannot be mounted is not made, so that
        it binds no task to this node. Raises InvalidArgument and Unavailable."""
        name = spec.name
        if not VOLUME_NAME.fullmatch(name):
            raise InvalidArgument(
                f'"{name}" cannot name a volume: letters, digits, "_", "." and "-", '
                "and the first a letter or digit"
            )
        folder, marks = self._state / name, self._run / name
        with self._lock(name):
            if name in self._going:
                raise Unavailable(f"volume {name} is being removed")
            with self._names:
                is_new = not folder.exists()
                if is_new:
                    self._unproven.add(name)
            try:
                _make(folder / "_data")
                if not (folder / "opts.json").exists():
                    _write_options(folder / "opts.json", spec)
                marks.mkdir(exist_ok=True, mode=0o700)
                (marks / task_id).touch()
                plan = mount_plan(self._read(name).spec.driver_options)
                if plan is not None and not _is_mounted(folder / "_data"):
                    _mount(name, plan, folder / "_data")
            except SwarmError:
                if is_new:
                    (marks / task_id).unlink()
                    marks.rmdir()
                    # Nothing but empty folders: never what is mounted there.
                    (folder / "opts.json").unlink()
                    (folder / "_data").rmdir()
                    folder.rmdir()
                raise
            finally:
                with self._names:
                    self._unproven.discard(name)
        return folder / "_data"

    def _lock(self, name: str) -> threading.Lock:
        # One for each volume: a mount of network storage may wait for minutes.
        return self._locks.setdefault(name, threading.Lock())

    def leave(self, task_id: str) -> None:
        """The task uses no volume any more; a device that nobody uses is unmounted."""
        for mark in sorted(self._run.glob(f"*/{task_id}")):
            with self._lock(mark.parent.name):
                mark.unlink(missing_ok=True)
                if not any(mark.parent.iterdir()):
                    mark.parent.rmdir()
                    _unmount(self._state / mark.parent.name / "_data")

    def users(self) -> set[str]:
        """The tasks that have marks here."""
        return {mark.name for mark in self._run.glob("*/*")}

    def list(self) -> tuple[NodeVolume, ...]:
        """Every volume, sorted by name; none whose first mount has yet to succeed."""
        with self._names:
            found = {p.name for p in self._state.iterdir()} - self._unproven
        names = sorted(name for name in found if not name.startswith("."))
        return tuple(self._read(name) for name in names)

    def _read(self, name: str) -> NodeVolume:
        folder = self._state / name
        try:
            found: dict[str, Any] = json.loads((folder / "opts.json").read_text())
        except (OSError, ValueError):
            # It was made by an older version, or a power cut took the file: a plain directory.
            found = {}
        marks = self._run / name
        users = sorted(mark.name for mark in marks.iterdir()) if marks.is_dir() else []
        return NodeVolume(
            spec=VolumeSpec(
                name=name,
                labels=found.get("labels", {}),
                driver_options=found.get("options", {}),
            ),
            created_at=found.get("created_at", 0.0),
            tasks=tuple(users),
        )

    def remove(self, name: str) -> int | None:
        """Remove a volume; answers the bytes that this freed, and None while a task uses it."""
        assert VOLUME_NAME.fullmatch(name), f"{name!r} names no volume"
        folder, going = self._state / name, self._state / f".{name}.removing"
        with self._lock(name):
            if (self._run / name).exists():
                return None
            if not folder.exists():
                return 0
            _unmount(folder / "_data")
            if _is_mounted(folder / "_data"):
                raise Unavailable(f"volume {name} is still mounted")
            folder.rename(going)
        freed = _size_bytes(going)
        shutil.rmtree(going)
        return freed


def _make(path: Path) -> None:
    """With all parents, passable for the container's users whatever the daemon's umask is."""
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def _write_options(path: Path, spec: VolumeSpec) -> None:
    record = {
        "labels": dict(spec.labels),
        "options": dict(spec.driver_options),
        "created_at": time.time(),
    }
    temporary = path.with_name(".opts.json.new")
    temporary.write_text(json.dumps(record))
    temporary.replace(path)


def _size_bytes(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            total += os.lstat(os.path.join(root, name)).st_blocks * 512
    return total


def _mount(name: str, plan: MountPlan, target: Path) -> None:
    if plan.flags & BIND and not Path(plan.device).exists():
        raise InvalidArgument(
            f"volume {name}: failed to mount local volume: {plan.device} does not exist on this "
            "node"
        )
    if plan.host:
        plan = plan.at(_address(name, plan.host))
    _call_mount(name, plan, target, plan.flags)
    if plan.flags & BIND and plan.flags & ~BIND & 0xFFF:
        # A bind takes its other flags only when it is mounted once more.
        try:
            _call_mount(name, plan, target, plan.flags | _MS_REMOUNT)
        except SwarmError:
            _unmount(target)  # else the next task would find it, without those flags
            raise


def _address(name: str, host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)[0][4][0])
    except OSError as error:
        raise Unavailable(f"volume {name}: cannot find the address of {host}: {error}") from error


def _call_mount(name: str, plan: MountPlan, target: Path, flags: int) -> None:
    result = _libc.mount(
        os.fsencode(plan.device),
        os.fsencode(target),
        os.fsencode(plan.kind or "none"),
        ctypes.c_ulong(flags),
        ",".join(plan.data).encode() or None,
    )
    if result != 0:
        code = ctypes.get_errno()
        why = os.strerror(code)
        if code == errno.ENODEV:
            why = f"this node's kernel knows no file system {plan.kind!r}"
        what = f"volume {name}: failed to mount local volume: {plan.device}: {why}"
        if code in (errno.EINVAL, errno.ENODEV, errno.ENOTDIR, errno.ENOENT, errno.ENOTBLK):
            raise InvalidArgument(what)
        raise Unavailable(what)


def _is_mounted(target: Path) -> bool:
    """Whether something is mounted here, also a directory of the same file system, which
    `os.path.ismount` does not see."""
    path = os.fsencode(target.resolve())
    with open("/proc/self/mountinfo", "rb") as table:
        points = (line.split(b" ")[4] for line in table)
        return any(_OCTAL.sub(lambda m: bytes([int(m[1], 8)]), point) == path for point in points)


def _unmount(target: Path) -> None:
    if _is_mounted(target) and _libc.umount2(os.fsencode(target), _MNT_DETACH) != 0:
        log.warning("cannot unmount %s: %s", target, os.strerror(ctypes.get_errno()))
