"""A file system in memory that forgets at a power cut what was not synced.

It stands in for `os`, `fcntl`, `open` and `pathlib.Path` in `manager.raft.disk`, so the real WAL
and the real snapshots run on it. After a cut a write that was under way is there, is not there, or
is torn: some of its sectors are there.
"""

from __future__ import annotations

import errno
import io
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The machine went dark in the middle of a call; nothing may catch this."""


@dataclass(slots=True)
class File:
    """Content, and for each write since the last sync what was there before."""

    data: bytearray = field(default_factory=bytearray)
    undo: list[tuple[int, bytes, int]] = field(default_factory=list)
    """Offset, the bytes that were replaced, the size before."""


@dataclass(slots=True)
class Directory:
    """Names as they are, and as they would be after a power cut."""

    names: dict[str, File] = field(default_factory=dict)
    durable: dict[str, File] = field(default_factory=dict)


class FileSystem:
    """The disk of one machine. `room_bytes`: what may still be written, or None for no limit."""

    O_RDWR, O_RDONLY, O_CREAT = os.O_RDWR, os.O_RDONLY, os.O_CREAT
    O_TRUNC, O_CLOEXEC, O_DIRECTORY = os.O_TRUNC, os.O_CLOEXEC, os.O_DIRECTORY

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.directories: dict[str, Directory] = {}
        self._open: dict[int, File | Directory] = {}
        self._next = 3
        self.full = False
        self.syncs_left = -1
        """Syncs until the power is cut in the middle of one; negative for never."""

    # ---- what stands in for `os` ----

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """A number for the file or directory."""
        if flags & self.O_DIRECTORY:
            return self._number(self.directories[str(path)])
        directory = self.directories[str(path.parent)]
        file = directory.names.get(path.name)
        if file is None:
            if not flags & self.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            file = directory.names[path.name] = File()
        if flags & self.O_TRUNC:
            self._resize(file, 0)
        return self._number(file)

    def _number(self, what: File | Directory) -> int:
        self._next += 1
        self._open[self._next] = what
        return self._next

    def _file(self, number: int) -> File:
        file = self._open[number]
        assert isinstance(file, File), f"{number} is a directory"
        return file

    def close(self, number: int) -> None:
        """Give the number back."""
        del self._open[number]

    def pwrite(self, number: int, data: bytes, offset: int) -> int:
        """Write; counts only after a sync."""
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        file = self._file(number)
        end, size = offset + len(data), len(file.data)
        if offset > size:
            file.data.extend(bytes(offset - size))
        file.undo.append((offset, bytes(file.data[offset:end]), size))
        file.data[offset:end] = data
        return len(data)

    def ftruncate(self, number: int, size: int) -> None:
        """Cut or extend."""
        self._resize(self._file(number), size)

    def _resize(self, file: File, size: int) -> None:
        old = len(file.data)
        file.undo.append((min(size, old), bytes(file.data[size:]), old))
        if size < old:
            del file.data[size:]
        else:
            file.data.extend(bytes(size - old))

    def fdatasync(self, number: int) -> None:
        """What was written is durable; here the power may be cut."""
        if self.syncs_left >= 0:
            self.syncs_left -= 1
            if self.syncs_left < 0:
                raise PowerCut
        what = self._open[number]
        if isinstance(what, File):
            what.undo.clear()
        else:
            what.durable = dict(what.names)

    fsync = fdatasync

    def rename(self, old: Path, new: Path) -> None:
        """One name for another, durable with the directory."""
        names = self.directories[str(old.parent)].names
        names[new.name] = names.pop(old.name)

    # ---- what stands in for builtins.open ----

    def open_file(self, path: Path, mode: str, opener: Callable[..., int]) -> Writer:
        """A file to write from its beginning."""
        del mode, opener
        return Writer(self, self.open(path, self.O_CREAT | self.O_TRUNC))

    # ---- what stands in for fcntl ----

    LOCK_EX = LOCK_NB = 0

    def flock(self, number: int, operation: int) -> None:
        """A process is alone with its directory here."""

    # ---- the power cut ----

    def close_all(self) -> None:
        """The process that had files open is gone."""
        self._open.clear()

    def power_cut(self, *, corrupt: bool) -> None:
        """Forget what was not synced, or keep some of it."""
        self._open.clear()
        self.syncs_left = -1
        self.full = False
        for directory in self.directories.values():
            directory.names = dict(directory.durable)
            for name in sorted(directory.names):
                self._tear(directory.names[name], corrupt)

    def _tear(self, file: File, corrupt: bool) -> None:
        if not file.undo:
            return
        written = bytes(file.data)
        for offset, old, size in reversed(file.undo):
            file.data[offset : offset + len(old)] = old
            del file.data[size:]
        file.undo.clear()
        fate = self._chance.choice(("lost", "kept", "torn", "torn"))
        if fate == "lost":
            return
        if fate == "kept":
            file.data[:] = written
            return
        if len(file.data) < len(written):
            file.data.extend(bytes(len(written) - len(file.data)))
        del file.data[len(written) :]
        for start in range(0, len(written), SECTOR_BYTES):
            new = written[start : start + SECTOR_BYTES]
            if new == file.data[start : start + SECTOR_BYTES]:
                continue
            if self._chance.random() < 0.5:
                file.data[start : start + SECTOR_BYTES] = new
                if corrupt and self._chance.random() < 0.5:
                    file.data[start + self._chance.randrange(len(new))] ^= 0x5A


class Writer(io.RawIOBase):
    """What `open(path, "wb")` gives."""

    def __init__(self, system: FileSystem, number: int) -> None:
        self._system = system
        self._number = number
        self._offset = 0

    def write(self, data: Any) -> int:
        """Write on."""
        self._offset += self._system.pwrite(self._number, data, self._offset)
        return len(data)

    def fileno(self) -> int:
        """The number."""
        return self._number


class Path(PurePosixPath):
    """A path on the disk of the machine that is its first part: "/m1/manager/raft"."""

    machines: dict[str, FileSystem] = {}  # noqa: RUF012 - one simulation runs at a time

    @property
    def _system(self) -> FileSystem:
        return self.machines[self.parts[1]]

    @property
    def _directory(self) -> Directory:
        return self._system.directories[str(self)]

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """A directory, durable at once."""
        del mode, parents, exist_ok
        for path in (self, *self.parents):
            self._system.directories.setdefault(str(path), Directory())

    def glob(self, pattern: str) -> list[Path]:
        """The files that match."""
        return [self / name for name in self._directory.names if Path(name).match(pattern)]

    def read_bytes(self) -> bytes:
        """The content."""
        return bytes(self._system.directories[str(self.parent)].names[self.name].data)

    def rename(self, target: Path) -> None:
        """Another name, durable with the directory."""
        self._system.rename(self, target)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the name, durable with the directory."""
        names = self._system.directories[str(self.parent)].names
        if self.name not in names and not missing_ok:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self))
        names.pop(self.name, None)


class Os:
    """Sends each call to the file system of the machine whose path or number it names.

    Numbers are unique among machines, since each call of a process belongs to one machine.
    """

    def __init__(self, current: Callable[[], FileSystem]) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current(), name)
