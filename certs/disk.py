"""A node's credentials and data key on disk: a directory of mode 0700 with files of mode 0600.

    node.pem   private key, certificate, the cross-signed root while the root is rotated, and the
               trusted roots, in this order
    data.key   32 bytes in hexadecimal, which seal the manager's log and snapshots

Key and certificate share a file because they change together: a crash between two renames would
leave a pair that does not fit, and a node that cannot prove itself any more.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Final

from certs import x509
from certs.seal import KEY_BYTES, SALT_BYTES, Cryptor
from pyswarm.crashpoints import reach
from pyswarm.errors import DataLoss, FailedPrecondition, SwarmError
from pyswarm.rpc import Credentials, read_identity

_FILE_BYTES_MOST: Final = 64 * 1024
_BEGIN: Final = b"-----BEGIN "


class CertificateDirectory:
    """Stores and loads what a node is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._node = path / "node.pem"
        self._data_key = path / "data.key"

    def load(self) -> Credentials | None:
        """The stored credentials, or None before the node has any.

        `FailedPrecondition` where others may read the key, `DataLoss` where the file is damaged.
        An expired certificate is loaded: with it the node can ask for the next.
        """
        content = _read(self._node)
        if content is None:
            return None
        try:
            key, certificate, root = _split(content)
            credentials = Credentials(certificate, key, root)
            x509.check_pair(certificate, key)
            x509.check_issued_by(certificate, root)
            read_identity(certificate)
        except (SwarmError, ValueError) as error:
            raise DataLoss(
                f"{self._node} is damaged ({error}): remove it and join the swarm again"
            ) from error
        return credentials

    def store(self, credentials: Credentials) -> None:
        """Replace the stored credentials as one step; on disk when this returns."""
        parts = (credentials.key_pem, credentials.certificate_pem, credentials.root_pem)
        self._write(self._node, b"".join(part.strip() + b"\n" for part in parts))

    def cryptor(self) -> Cryptor:
        """A cryptor with this node's data key, which is made at the first call."""
        content = _read(self._data_key)
        if content is None:
            key = os.urandom(KEY_BYTES)
            self._write(self._data_key, key.hex().encode() + b"\n")
        else:
            try:
                key = bytes.fromhex(content.decode().strip())
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise DataLoss(
                    f"{self._data_key} is damaged: put it back from a copy, "
                    "or remove the node's state and join the swarm again"
                )
        return Cryptor(key, os.urandom(SALT_BYTES))

    def remove(self) -> None:
        """Forget everything: the node has left the swarm."""
        for path in (self._node, self._data_key):
            path.unlink(missing_ok=True)
            reach("identity.file-removed")
        if self.path.exists():
            _sync_directory(self.path)

    def _write(self, path: Path, content: bytes) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        _sync_directory(self.path.parent)
        # The daemon is the only writer, so one name is enough, and a crash leaves one at most.
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        reach("identity.draft-created")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                reach("identity.draft-written")
                os.fsync(file.fileno())
            reach("identity.draft-synced")
            draft.rename(path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        reach("identity.renamed")
        _sync_directory(self.path)
        reach("identity.stored")


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FailedPrecondition(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise FailedPrecondition(
                f"{path} may be read by others (mode {stat.S_IMODE(status.st_mode):04o}): "
                "set it to 0600, and join the swarm again if somebody may have read it"
            )
        if status.st_uid != os.geteuid():
            raise FailedPrecondition(f"{path} belongs to user {status.st_uid}, not to the daemon's")
        content = file.read(_FILE_BYTES_MOST + 1)
    if len(content) > _FILE_BYTES_MOST:
        raise DataLoss(f"{path} is larger than {_FILE_BYTES_MOST} bytes, so it is not ours")
    return content


def _split(content: bytes) -> tuple[bytes, bytes, bytes]:
    key, *certificates = [_BEGIN + part for part in content.split(_BEGIN)[1:]] or [b""]
    if len(certificates) < 2:
        raise ValueError("it is too short")
    chain = list(takewhile(lambda each: not x509.is_root(each), certificates))
    return key, b"".join(chain), b"".join(certificates[len(chain) :])


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
