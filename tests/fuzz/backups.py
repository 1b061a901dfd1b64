"""Backup files, as a restore reads them before it knows who wrote them."""

from __future__ import annotations

import io

from fuzzing import Target

from manager.recovery import backup
from pyswarm.cli.recovery_text import contents
from pyswarm.errors import DataLoss
from pyswarm.testing.backups import manifest

BACKUP = backup.Header(backup.COSTS[0], bytes(16))
MANIFEST = manifest(state_bytes=9)


def _backup() -> bytes:
    sealer = backup.Sealer(bytes(32), BACKUP)
    frames = [sealer.frame(backup.encode_manifest(MANIFEST)), sealer.frame(b"the state", last=True)]
    return b"".join((BACKUP.encode(), *frames))


def read_backup(data: bytes) -> object:
    """The file as a restore reads it, but for the key, which no stranger's file may slow down."""
    file = io.BytesIO(data)
    header = backup.read_header(file.read)
    return list(backup.read_frames(file.read, bytes(32), header))


def read_manifest(data: bytes) -> object:
    """What lies behind the seal, and what is printed of it."""
    return contents(backup.decode_manifest(data))


BACKUPS = (
    Target("backup", read_backup, (DataLoss,), (_backup(),), (backup.MAGIC, b"\x80\0\0\x10")),
    Target(
        "backup-manifest",
        read_manifest,
        (DataLoss,),
        (backup.encode_manifest(MANIFEST),),
        (b"[", b"{", b"null", b"true", b"-1", b"1e999", b"9" * 5000, b'"index": ', b'"counts": '),
    ),
)
