"""What a crash leaves of a directory: of the process alone, and of the machine's power.

A process that is killed leaves what it has written, but what it had not synced may go later, when
the power does. A power cut may take away all that was not synced: the content of files and, each
for itself, the names in the directory. `PowerCut` sees every fsync and fdatasync, so at any moment
it can say what is sure to be there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyswarm import crashpoints

Files = frozenset[tuple[str, bytes]]
"""A directory without others in it: names and contents."""


@dataclass(frozen=True, slots=True)
class Wreck:
    """A directory after a crash. Of its `files`, those names and contents are durable that are
    in `named` (the durable names with their durable contents) and `synced` (all names)."""

    files: Files
    named: Files
    synced: Files

    def lay_out(self, directory: Path) -> None:
        """Make the directory look so."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in directory.iterdir():
            path.unlink()
        for name, content in self.files:
            handle = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)


class PowerCut:
    """Watches one directory from now on, while `watching`. What it holds already is durable, or as
    durable as the `wreck` says that it came from."""

    def __init__(self, directory: Path, wreck: Wreck | None = None) -> None:
        self._directory = directory
        self._contents: dict[int, bytes] = {}  # by inode; below 0: files without a name any more
        self._open: dict[int, int] = {}  # a file that is held open keeps its inode to itself
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = self._names = self._listing()
        for path in directory.iterdir():
            self._keep(os.open(path, os.O_RDONLY))
        if wreck is not None:
            for name, content in wreck.synced:
                self._contents[now[name]] = content
            self._names = {}
            for number, (name, content) in enumerate(sorted(wreck.named), 1):
                self._names[name] = now.get(name, -number)
                self._contents[self._names[name]] = content

    def _listing(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self._directory)}

    def _read(self, name: str) -> bytes:
        handle = os.open(f"{self._directory}/{name}", os.O_RDONLY)
        try:
            return os.pread(handle, os.fstat(handle).st_size, 0)
        finally:
            os.close(handle)

    def _keep(self, handle: int) -> None:
        inode = os.fstat(handle).st_ino
        if self._open.setdefault(inode, handle) != handle:
            os.close(handle)
        handle = self._open[inode]
        self._contents[inode] = os.pread(handle, os.fstat(handle).st_size, 0)

    def _synced(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            if path == self._directory:
                self._names = self._listing()
        elif path.parent == self._directory:
            self._keep(os.open(f"/proc/self/fd/{handle}", os.O_RDONLY))

    def _durable(self, names: Mapping[str, int]) -> Files:
        return frozenset((name, self._contents.get(inode, b"")) for name, inode in names.items())

    def wrecks(self) -> list[Wreck]:
        """What crashes at this moment may leave: first a killed process, then power cuts."""
        now = self._listing()
        content = {inode: self._read(name) for name, inode in now.items()}
        current = frozenset((name, content[inode]) for name, inode in now.items())
        named, synced = self._durable(self._names), self._durable(now)
        flushed = frozenset(
            (name, content.get(inode, self._contents.get(inode, b"")))
            for name, inode in self._names.items()
        )
        cuts = {named: None, synced: None, flushed: None, current: None}
        return [Wreck(current, named, synced), *(Wreck(files, files, files) for files in cuts)]

    @contextmanager
    def watching(self, at_point: Callable[[str], None]) -> Iterator[None]:
        """Call `at_point` at each crash point; syncs are noted, and not made."""
        real = os.fsync, os.fdatasync
        os.fsync = os.fdatasync = self._synced  # type: ignore[assignment]
        crashpoints.arm(at_point)
        try:
            yield
        finally:
            crashpoints.arm(None)
            os.fsync, os.fdatasync = real
            for handle in self._open.values():
                os.close(handle)
            self._open.clear()
