"""Other files in place of those that a running container has mounted, each in one step.

The mount of the new file is moved beneath that of the earlier one, which is then detached: who
opens the target has the one file or the other, and there is one mount as before. Kernels before
6.5 cannot do that. There it comes on top, and what it covers stays as long as the container.

The container's mount namespace is entered by a thread of its own, which ends there. Inside `/` is
the container's, so the thread makes kernel calls and reads no file of the host by its path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.executor.containers import FileChange
from agent.runtime.rootfs import Root
from pyswarm.errors import NotFound

# The same numbers on every architecture.
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_OPEN_TREE_CLONE: Final = 0x1
_MOVE_MOUNT_EMPTY_PATHS: Final = 0x4 | 0x40
_MOVE_MOUNT_BENEATH: Final = 0x200
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 0x2
_CLONE_FS: Final = 0x200
_CLONE_NEWNS: Final = 0x20000
_ACCESS_FLAGS: Final = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
_ELSEWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES)

_libc = ctypes.CDLL(None, use_errno=True)

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """`gone` are earlier files that the container has mounted no more, `strange` the targets at
    which it has something else than a file of ours: they are left."""

    gone: tuple[Path, ...]
    strange: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A change, its new mount made and not attached."""

    mount: int
    target: str
    new: Identity
    earlier: frozenset[Identity]


def exchange(pid: int, changes: Sequence[FileChange]) -> Exchange:
    """Have the container of this process see the changes; what it sees already stays. Blocks as
    its file systems do. Raises NotFound where the process is gone, and OSError."""
    with ExitStack() as opened:

        def kept(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        proc = kept(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            namespace = kept(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
        except (FileNotFoundError, ProcessLookupError):
            raise NotFound(f"process {pid} is gone") from None
        ready = [_ready(kept(_clone(change.source)), change) for change in changes]
        with ThreadPoolExecutor(1, thread_name_prefix="exchange") as inside:
            strange, table = inside.submit(_visit, namespace, proc, ready).result()
    mounted = mounted_names(table)
    earlier = (path for change in changes for path in change.earlier)
    return Exchange(tuple(path for path in earlier if path.name not in mounted), strange)


def mounted_names(table: bytes) -> frozenset[str]:
    """The last parts of the paths of what is mounted, by a table of proc_pid_mountinfo(5):
    the paths themselves begin at a root that is not ours."""
    roots = (os.fsdecode(line.split(b" ")[3]) for line in table.splitlines())
    return frozenset(root.removesuffix("//deleted").rpartition("/")[2] for root in roots)


def mount_attributes(flags: int) -> bytes:
    """struct mount_attr that gives a mount the access flags in `flags` (of statvfs) and no others,
    and no peers to which mounts upon it would spread."""
    # attr_set, attr_clr, propagation, userns_fd; MOUNT_ATTR_* are as ST_* here.
    return struct.pack("=QQQQ", flags & _ACCESS_FLAGS, ~flags & _ACCESS_FLAGS, _MS_PRIVATE, 0)


def _ready(mount: int, change: FileChange) -> _Ready:
    earlier = frozenset(map(_identity, change.earlier))
    return _Ready(mount, change.target, _identity(mount), earlier)


def _identity(file: int | Path) -> Identity:
    found = os.stat(file)
    return found.st_dev, found.st_ino


def _visit(namespace: int, proc: int, ready: Sequence[_Ready]) -> tuple[tuple[str, ...], bytes]:
    """The strange targets, and the table of what is mounted in the end."""
    _check(_libc.unshare(_CLONE_FS))
    _check(_libc.setns(namespace, _CLONE_NEWNS))
    # Not /proc/PID/root: the container may have changed that of its processes.
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(proc)  # the host's
        strange = tuple(each.target for each in ready if not _exchange(Root(root), each))
    finally:
        os.close(root)
    with open("thread-self/mountinfo", "rb") as table:
        return strange, table.read()


def _exchange(root: Root, each: _Ready) -> bool:
    """False where something strange is at the target. Were it replaced all the same, a link that
    the container put there could have us take away a mount that keeps it from the host."""
    try:
        there = root.open(each.target, os.O_PATH)
    except OSError as error:
        if error.errno in _ELSEWHERE:
            return False
        raise
    try:
        found = _identity(there)
        if found == each.new:
            return True
        if found not in each.earlier:
            return False
        attributes = mount_attributes(os.fstatvfs(there).f_flag)
        size = ctypes.c_size_t(len(attributes))
        _call(_SYS_MOUNT_SETATTR, each.mount, b"", _AT_EMPTY_PATH, attributes, size)
        try:
            _move(each.mount, there, _MOVE_MOUNT_BENEATH)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _move(each.mount, there, 0)
        else:
            # By its descriptor: what the path leads to the container may have changed by now.
            _check(_libc.umount2(b"self/fd/%d" % there, _MNT_DETACH))
    finally:
        os.close(there)
    return True


def _clone(path: Path) -> int:
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    return _call(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def _move(mount: int, there: int, flags: int) -> None:
    _call(_SYS_MOVE_MOUNT, mount, b"", there, b"", _MOVE_MOUNT_EMPTY_PATHS | flags)


def _call(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
