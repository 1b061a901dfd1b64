"""`pyswarm swarm backup`, `restore`, `status`, `reconnect` and `init --force-new-cluster`."""

from __future__ import annotations

import getpass
import json
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from manager.recovery import backup
from manager.recovery.backup import Header, Manifest, Sealer
from pyswarm.api.v1 import control_pb2, recovery_pb2
from pyswarm.cli import recovery_text as text
from pyswarm.cli.commands import Parsers, command
from pyswarm.cli.connection import Connection
from pyswarm.errors import DataLoss, InvalidArgument

PASSPHRASE_BYTES_MOST = 4096
_LENGTH_HELP = f"at least {backup.PASSPHRASE_LENGTH_LEAST} characters"


def register(swarm: Parsers) -> None:
    """Add the commands."""
    save = command(swarm, "backup", "Write the state of the swarm to an encrypted file", _backup)
    save.add_argument("file", metavar="FILE")
    load = command(
        swarm, "restore", "Make this machine the manager of a swarm in a backup", _restore
    )
    load.add_argument("--advertise-addr", default="", help="Advertised address (ADDR or interface)")
    load.add_argument(
        "--availability", default="active", choices=("active", "pause", "drain"), help="of the node"
    )
    load.add_argument("--dry-run", action="store_true", help="only check it and say what is in it")
    load.add_argument("file", metavar="FILE")
    for parser in (save, load):
        parser.add_argument(
            "--passphrase-file",
            metavar="PATH",
            help="whose first line is the passphrase (- is the standard input); without it you "
            "are asked",
        )
    status = command(swarm, "status", "Show how the managers stand, and what to do", _status)
    status.add_argument("--format", choices=("table", "json"), default="table")
    again = command(swarm, "reconnect", "Tell this worker where the managers are now", _reconnect)
    again.add_argument("address", metavar="HOST:PORT", nargs="+", help="managers of the swarm")


# ---- passphrases ----


def read_passphrase(path: str | None, *, twice: bool) -> bytes:
    """The passphrase: from a file's first line, or asked for where there is a terminal."""
    if path is None and sys.stdin.isatty():
        first = getpass.getpass(f"Passphrase of the backup ({_LENGTH_HELP}): ")
        if twice and getpass.getpass("The same again: ") != first:
            raise InvalidArgument("the two passphrases differ")
        return first.encode()
    if path in (None, "-"):
        return _first_line(sys.stdin.buffer)
    assert path is not None, "a path that is None was the standard input"
    try:
        with open(path, "rb") as file:
            return _first_line(file)
    except OSError as error:
        raise InvalidArgument(f"cannot read the passphrase in {path}: {error.strerror}") from error


def _first_line(file: BinaryIO) -> bytes:
    line = file.readline(PASSPHRASE_BYTES_MOST + 1)
    if len(line) > PASSPHRASE_BYTES_MOST:
        raise InvalidArgument(f"a passphrase has at most {PASSPHRASE_BYTES_MOST} bytes")
    return line.rstrip(b"\r\n")


# ---- backup ----


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file of mode 0600 that gets its name once it is whole and on disk."""
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InvalidArgument(f"cannot write to {path.parent}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise InvalidArgument(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)


async def _backup(args: Namespace, connection: Connection) -> int:
    path = Path(args.file)
    header = Header(backup.COST, os.urandom(backup.SALT_BYTES))
    key = backup.new_key(read_passphrase(args.passphrase_file, twice=True), header)
    sealer, ended, manifest = Sealer(key, header), False, None
    with _new_file(path) as file:
        file.write(header.encode())
        async for chunk in connection.stream(connection.recovery.Backup(control_pb2.Empty())):
            if manifest is None:
                manifest = backup.decode_manifest(chunk.manifest)
                file.write(sealer.frame(chunk.manifest))
                continue
            file.write(sealer.frame(chunk.data, last=chunk.last))
            ended = chunk.last
        if manifest is None or not ended:
            raise DataLoss("the daemon ended before the backup was whole: nothing was written")
    print(f"{text.contents(manifest)}\nWritten to {path}. Without the passphrase it is worthless.")
    return 0


# ---- restore ----


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error


def check(path: Path, passphrase: bytes) -> tuple[Manifest, bytes, Header]:
    """Read a backup to its end; what it holds, and the key and header to read it again.

    Raises DataLoss where anything of it is not as it was written.
    """
    with _open(path) as file:
        header = backup.read_header(file.read)
        key = backup.new_key(passphrase, header)
        frames = backup.read_frames(file.read, key, header)
        manifest = backup.decode_manifest(next(frames))
        if sum(map(len, frames)) != manifest.state_bytes:
            raise DataLoss("the backup holds another number of bytes than it says")
        return manifest, key, header


async def _restore(args: Namespace, connection: Connection) -> int:
    path = Path(args.file)
    manifest, key, header = check(path, read_passphrase(args.passphrase_file, twice=False))
    print(text.contents(manifest))
    if args.dry_run:
        print("The file is whole. Nothing was changed.")
        return 0

    async def chunks() -> AsyncIterator[recovery_pb2.RestoreChunk]:
        with _open(path) as file:
            file.seek(len(header.encode()))
            frames = backup.read_frames(file.read, key, header)
            yield recovery_pb2.RestoreChunk(
                advertise_address=args.advertise_addr,
                availability=args.availability,
                manifest=next(frames),
            )
            for piece in frames:
                yield recovery_pb2.RestoreChunk(data=piece)
            # Only now is it known that the file ends where it should.
            yield recovery_pb2.RestoreChunk(last=True)

    answer = await connection.call(connection.recovery.Restore(chunks()))
    print(text.restored(answer))
    return 0


# ---- going on alone ----


async def force_new_cluster(args: Namespace, connection: Connection) -> int:
    """`swarm init --force-new-cluster`."""
    request = recovery_pb2.ForceNewClusterRequest(
        dry_run=args.dry_run, advertise_address=args.advertise_addr
    )
    plan = await connection.call(connection.recovery.ForceNewCluster(request))
    print(text.going_on(plan, time.time(), done=not args.dry_run))
    return 0


async def _reconnect(args: Namespace, connection: Connection) -> int:
    request = recovery_pb2.ReconnectRequest(addresses=args.address)
    await connection.call(connection.recovery.Reconnect(request))
    print("This node looks for its managers there.")
    return 0


# ---- status ----


async def _status(args: Namespace, connection: Connection) -> int:
    status = await connection.call(connection.recovery.Status(control_pb2.Empty()))
    if args.format == "json":
        print(json.dumps(_plain(status)))
    else:
        print(text.status(status, time.time()))
    return 0


def _plain(message: Any) -> dict[str, Any]:
    """A message with its names as in the protocol; numbers are numbers, what is absent is null."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_plain(item) if field.message_type else item for item in value]
    if field.message_type:
        return _plain(value) if message.HasField(field.name) else None
    return value
