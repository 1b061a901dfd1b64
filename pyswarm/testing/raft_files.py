"""The real disk of a member under power cuts: what was not synced is lost, torn or there by luck.

`RaftDisk` works on real files. Its `os` is exchanged for one that remembers what each fsync made
durable, and that can end at any call. After a power cut each sector that was written and not
synced is the old or the new one, and the names of files are those of the last sync of the directory
or the newest. A model (`SimDisk`) says what has to come back.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from manager.raft import disk as disk_module
from manager.raft.core import Saved, Write
from manager.raft.disk import RaftDisk
from manager.raft.messages import SnapshotMeta
from manager.raft.settings import RaftSettings
from manager.raft.wal import SECTOR_BYTES
from pyswarm.errors import DataLoss
from pyswarm.testing.raft_node import SimDisk, Violation

CALLS_MOST = 8
"""A power cut comes before one of the first calls of a write, or behind its last."""


class PowerLost(Exception):
    """The machine went dark inside a call."""


class CountingCryptor:
    """AES-256-GCM with a counter for nonces, so that a run can be repeated byte by byte."""

    def __init__(self) -> None:
        self._aead = AESGCM(bytes(32))
        self._count = 0

    def encrypt(self, data: bytes, aad: bytes) -> bytes:
        """Seal."""
        self._count += 1
        nonce = self._count.to_bytes(12, "big")
        return nonce + self._aead.encrypt(nonce, data, aad)

    def decrypt(self, data: bytes, aad: bytes) -> bytes:
        """Open."""
        return self._aead.decrypt(data[:12], data[12:], aad)

    def key_of(self, data: bytes) -> int:
        """There is one key."""
        del data
        return 1


class Files:
    """`os` for one directory; `calls_left` counts down to the power cut, None for never."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.calls_left: int | None = None
        self._files: dict[str, int] = {}  # name -> number of the file that it means
        self._handles: dict[int, tuple[int, Path]] = {}  # number and path of what is open
        self._numbers = 0
        self._durable: dict[int, bytes] = {}
        self._durable_names: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _call(self) -> None:
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise PowerLost
            self.calls_left -= 1

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        """As in `os`."""
        name, exists = Path(path).name, os.path.exists(path)
        self._call()
        handle = os.open(path, flags, mode)
        if flags & os.O_DIRECTORY:
            self._handles[handle] = 0, Path(path)
            return handle
        if not exists or name not in self._files:
            self._numbers += 1
            self._files[name] = self._numbers
        self._handles[handle] = self._files[name], Path(path)
        return handle

    def close(self, handle: int) -> None:
        """As in `os`."""
        self._handles.pop(handle, None)
        os.close(handle)

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        """As in `os`; a power cut may come when the page cache has it and the disk has not."""
        self._call()
        return os.pwrite(handle, data, offset)

    def rename(self, old: Path, new: Path) -> None:
        """As in `os`."""
        self._call()
        os.rename(old, new)
        self._files[new.name] = self._files.pop(old.name)

    def fsync(self, handle: int) -> None:
        """What the file holds, or which names the directory holds, is durable."""
        self._call()
        number, path = self._handles[handle]
        if number:
            self._durable[number] = path.read_bytes()
        elif path == self.directory:
            self._durable_names = self._names()

    fdatasync = fsync

    def _names(self) -> dict[str, int]:
        return {name: self._files[name] for name in sorted(os.listdir(self.directory))}

    def power_cut(self, chance: random.Random) -> None:
        """Leave what a disk may hold now."""
        self.calls_left = None
        for handle, (number, path) in list(self._handles.items()):
            # Files that are opened by name and not by `os` have closed themselves.
            if (number and path.suffix == ".wal") or path.name == "lock":
                self.close(handle)
        self._handles.clear()
        newest = self._names()
        contents = {n: (self.directory / name).read_bytes() for name, n in newest.items()}
        names = chance.choice((self._durable_names, newest))
        kept = {}
        for name, number in names.items():
            old = self._durable.get(number, b"")
            kept[name] = _mixed(old, contents.get(number, old), chance)
        for name in newest:
            (self.directory / name).unlink()
        for name, data in kept.items():
            (self.directory / name).write_bytes(data)
        self._files = dict(names)
        self._durable_names = dict(names)
        self._durable = {names[name]: data for name, data in kept.items()}


def _mixed(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """Sectors of both; the length is of one of them."""
    if old == new:
        return new
    size = chance.choice((len(old), len(new)))
    used = max(len(old.rstrip(b"\0")), len(new.rstrip(b"\0")))
    parts = [
        chance.choice((old, new))[start : start + SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0")
        for start in range(0, used, SECTOR_BYTES)
    ]
    return b"".join(parts)[:size].ljust(size, b"\0")


class FileDisk(SimDisk):
    """A `SimDisk` that asks the real one, and does not believe it."""

    def __init__(
        self, raft_id: int, directory: Path, settings: RaftSettings, chance: random.Random
    ) -> None:
        super().__init__()
        directory.mkdir(parents=True)
        self.damaged = False
        self._raft_id = raft_id
        self._settings = settings
        self._chance = chance
        self._files = Files(directory)
        self._cryptor = CountingCryptor()
        self._real: RaftDisk | None = None
        self._open_end: Write | None = None  # a write that a power cut interrupted

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        module: Any = disk_module
        module.os = self._files
        try:
            yield
        finally:
            module.os = os

    def _do(self, call: Callable[[RaftDisk], Any]) -> Any:
        assert self._real is not None, "the disk is not open"
        with self._at_work():
            return call(self._real)

    def create(self, snapshot: SnapshotMeta) -> None:
        """The disk of a new cluster's member."""
        self.saved()
        self._do(lambda real: real.create(snapshot, b"0"))
        super().create(snapshot)

    def write(self, write: Write) -> None:
        """All of `write` becomes durable."""
        self._do(lambda real: real.write(write))
        super().write(write)

    def save_snapshot(self, snapshot: SnapshotMeta, chain: int, keep: int) -> None:
        """An own snapshot."""
        self._do(lambda real: real.save_snapshot(snapshot, b"%d" % chain))
        super().save_snapshot(snapshot, chain, keep)

    def remove_segments(self, base_index: int) -> None:
        """What the log begins behind may go."""
        self._do(lambda real: real.remove_segments(base_index))

    def newest_snapshot(self) -> tuple[SnapshotMeta, bytes]:
        """For a member that is far behind."""
        found: tuple[SnapshotMeta, bytes] = self._do(lambda real: real.read_snapshot())
        return found

    def crash(self, writing: Write | None, *, arrives: bool) -> None:
        """A power cut; `writing` has come as far as chance wants, or has arrived."""
        if writing is not None:
            if not arrives:
                self._files.calls_left = self._chance.randrange(CALLS_MOST)
            try:
                self.write(writing)
            except PowerLost:
                self._open_end = writing
        self._files.power_cut(self._chance)
        self._real = None

    def damage(self) -> None:
        """Flip a bit of what is written: the next start must refuse it."""
        path = self._chance.choice(sorted(self._files.directory.glob("*.wal")))
        data = bytearray(path.read_bytes())
        size = len(bytes(data).rstrip(b"\0"))
        data[self._chance.randrange(size)] ^= 1 << self._chance.randrange(8)
        path.write_bytes(data)
        self.damaged = True

    def saved(self) -> Saved:
        """What a restart finds; it must be what was made durable. DataLoss where bits flipped."""
        if self._real is not None:
            self._do(lambda real: real.close())
        self._real = RaftDisk(self._files.directory, self._cryptor, self._settings)
        found: Saved
        try:
            found, data = self._do(lambda real: real.open(self._raft_id))
        except DataLoss as error:
            self._real = None
            if self.damaged:
                raise
            raise Violation(f"the disk of {self._raft_id} is refused: {error.message}") from error
        if self.damaged:
            raise Violation(f"the disk of {self._raft_id} has a flipped bit, and is not refused")
        self._settle_open_end(found)
        chain = int(data or b"0")
        expected = super().saved()
        if (_essence(found), chain) != (_essence(expected), self.chain):
            raise Violation(
                f"the disk of {self._raft_id} gave back {_words(found)} state {chain}, "
                f"durable is {_words(expected)} state {self.chain}"
            )
        return found

    def _settle_open_end(self, found: Saved) -> None:
        """Nobody was promised an interrupted write: whether it came decides the disk."""
        write, self._open_end = self._open_end, None
        if write is None:
            return
        after = copy(self)
        after.entries = list(self.entries)
        SimDisk.write(after, write)
        middle = copy(self)
        middle.entries = list(self.entries)
        if write.snapshot is not None:
            middle.restart_between(write.snapshot.snapshot, int(write.snapshot.data))
        for model in (self, middle, after):
            if _essence(found) == _essence(SimDisk.saved(model)):
                self.snapshot, self.chain, self.entries = model.snapshot, model.chain, model.entries
                self.term, self.vote, self.commit = model.term, model.vote, model.commit
                return

    def restart_between(self, snapshot: SnapshotMeta, chain: int) -> None:
        """A leader's snapshot has its file, and not yet the record of its install."""
        self.snapshot, self.chain = snapshot, chain
        if not self.knows(snapshot.index, snapshot.term):
            self.entries = []
        self.entries = [entry for entry in self.entries if entry.index > snapshot.index]
        if self.term < snapshot.term:
            self.term, self.vote = snapshot.term, 0


def _essence(saved: Saved) -> Saved:
    """Without entries that the snapshot stands for: how many are kept is of no matter."""
    last = saved.snapshot.index
    tail = tuple(entry for entry in saved.entries if entry.index > last)
    return replace(saved, entries=tail)


def _words(saved: Saved) -> str:
    tail = [f"{entry.index}/{entry.term}" for entry in _essence(saved).entries]
    return (
        f"term {saved.term} vote {saved.vote} commit {saved.commit} snapshot "
        f"{saved.snapshot.index}/{saved.snapshot.term} of {saved.snapshot.membership.ids} "
        f"entries {' '.join(tail) or 'none'}"
    )
