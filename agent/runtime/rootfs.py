"""A container's root file system, mounted by us for a moment before the container has it.

Everything in it was written by strangers, so every path is resolved by openat2(2) as if the root
of the image were `/`: a symbolic link to /etc/shadow leads to the image's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyswarm.errors import InvalidArgument, Unavailable

_SYS_OPENAT2: Final = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
_MNT_DETACH: Final = 2
_FLAGS: Final = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "rbind": 0x5000,
    "bind": 0x1000,
}
_IGNORED: Final = frozenset(["rw"])
_DATABASE_BYTES_MAX: Final = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MountStep:
    """One mount as containerd's snapshotter describes it."""

    type: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CopyUp:
    """A volume that is to begin with what the image has at `target`."""

    target: str
    directory: Path


class Root:
    """An open root directory of an image."""

    def __init__(self, descriptor: int) -> None:
        self._root = descriptor

    def open(self, path: str, flags: int) -> int:
        """A descriptor of a path inside; raises OSError."""
        # struct open_how: flags, mode, resolve.
        resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
        size = ctypes.c_size_t(len(how))
        name = os.fsencode(path)
        found = _libc.syscall(ctypes.c_long(_SYS_OPENAT2), self._root, name, how, size)
        if found < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
        return int(found)

    def read_text(self, path: str) -> str:
        """A small file; empty where it is not there."""
        try:
            # Without waiting: somebody may have put a FIFO there.
            descriptor = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return ""
            raise
        with os.fdopen(descriptor, "rb") as file:
            return file.read(_DATABASE_BYTES_MAX).decode(errors="replace")

    def make_directory(self, path: str, uid: int, gid: int) -> None:
        """With all parents; those that are made belong to the user, as in Docker."""
        made = "/"
        for part in Path(path).parts[1:]:
            parent, made = made, os.path.join(made, part)
            try:
                os.close(self.open(made, os.O_PATH | os.O_DIRECTORY))
            except FileNotFoundError:
                descriptor = self.open(parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.mkdir(part, 0o755, dir_fd=descriptor)
                    os.chmod(part, 0o755, dir_fd=descriptor)
                    os.chown(part, uid, gid, dir_fd=descriptor, follow_symlinks=False)
                finally:
                    os.close(descriptor)

    def copy_up(self, copy: CopyUp) -> None:
        """Fill a new volume, with owners, modes and attributes; one that has something stays.

        A mark beside the volume says that the copy is not finished: it is then done again.
        """
        mark = copy.directory.with_name("_copying")
        if not mark.exists() and any(copy.directory.iterdir()):
            return
        try:
            descriptor = self.open(copy.target, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return  # the image has nothing there
        try:
            mark.touch()
            source = f"/proc/self/fd/{descriptor}/."
            done = subprocess.run(
                ["cp", "--archive", "--reflink=auto", "--", source, f"{copy.directory}/"],
                pass_fds=(descriptor,),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        finally:
            os.close(descriptor)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Unavailable(f"cannot fill the volume at {copy.target}: {(said or ['?'])[-1]}")
        mark.unlink()


@contextmanager
def mounted(steps: Sequence[MountStep], at: Path) -> Iterator[Root]:
    """The root file system, mounted at `at` as long as the `with` lasts."""
    clean(at)
    at.mkdir(mode=0o700, parents=True)
    try:
        for step in steps:
            _mount(step, at)
        descriptor = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Root(descriptor)
        finally:
            os.close(descriptor)
    finally:
        clean(at)


def clean(at: Path) -> None:
    """Unmount and remove what an earlier daemon left here."""
    with suppress(FileNotFoundError):
        while _libc.umount2(os.fsencode(at), _MNT_DETACH) == 0:
            pass
        at.rmdir()


def _mount(step: MountStep, at: Path) -> None:
    flags = 0
    data = []
    for option in step.options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option not in _IGNORED:
            data.append(option)
    text = ",".join(data).encode()
    if len(text) >= os.sysconf("SC_PAGE_SIZE"):
        raise InvalidArgument("the image has too many layers to be mounted: squash it")
    result = _libc.mount(
        os.fsencode(step.source),
        os.fsencode(at),
        step.type.encode(),
        ctypes.c_ulong(flags),
        text or None,
    )
    if result != 0:
        code = ctypes.get_errno()
        hint = ": the daemon must run as root" if code == errno.EPERM else ""
        raise Unavailable(
            f"cannot mount the root file system of a container: {os.strerror(code)}{hint}"
        )
