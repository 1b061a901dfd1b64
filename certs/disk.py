"""A node's credentials and data keys on disk: `node.pem` (0600) in a directory of mode 0700.

`keyfile` says what is in it. Keys and certificates share a file because they change together: a
crash between two renames would leave a pair that does not fit, and a node that cannot prove itself
or open its log any more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from certs import keyfile, x509
from certs.keyfile import KeyFile
from certs.keyring import NO_KEYS, KeyRing
from certs.seal import KEY_BYTES, RANDOM_BYTES, SALT_BYTES, RingCryptor
from certs.unlock import OPEN, Lock, Locked, WrongUnlockKey
from pyswarm.crashpoints import reach
from pyswarm.errors import DataLoss, FailedPrecondition, SwarmError
from pyswarm.model.states import NodeRole
from pyswarm.rpc import Credentials, read_identity

_FILE_BYTES_MOST: Final = 64 * 1024


def new_ring() -> KeyRing:
    """A first data key."""
    return NO_KEYS.rotated(os.urandom(KEY_BYTES))


def cryptor_of(ring: KeyRing) -> RingCryptor:
    """A cryptor with the keys of `ring`."""
    return RingCryptor(ring.keys, os.urandom(RANDOM_BYTES))


class CertificateDirectory:
    """Stores and loads what a node is. All calls come from one thread.

    Each change is one step: after a crash the file is as before it or as after it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._node = path / "node.pem"
        self._held: KeyFile | None = None  # as on disk, once it was read or written
        self._cryptor: RingCryptor | None = None

    def load(self, unlock_key: bytes = b"") -> Credentials | None:
        """The stored credentials, or None before the node has any.

        `Locked` where they are sealed and no key is given, `WrongUnlockKey` where it is another;
        `FailedPrecondition` where others may read the key, `DataLoss` where the file is damaged.
        An expired certificate is loaded: with it the node can ask for the next.
        """
        content = _read(self._node)
        if content is None:
            return None
        try:
            held = keyfile.decode(content, unlock_key)
            x509.check_pair(held.certificate_pem, held.key_pem)
            x509.check_issued_by(held.certificate_pem, held.root_pem)
            read_identity(held.certificate_pem)
        except (Locked, WrongUnlockKey):
            raise
        except (SwarmError, ValueError) as error:
            raise DataLoss(
                f"{self._node} is damaged ({error}): remove it and join the swarm again"
            ) from error
        self._held = held
        return Credentials(held.certificate_pem, held.key_pem, held.root_pem)

    def create(self, credentials: Credentials, lock: Lock = OPEN, ring: KeyRing = NO_KEYS) -> None:
        """Begin anew with these credentials, whatever an earlier try has left here."""
        self._cryptor = None
        self._save(_file_of(credentials, ring, lock))

    def store(self, credentials: Credentials) -> None:
        """Replace the stored credentials, and keep the data keys; on disk when this returns.

        The file of a worker is never sealed, since a worker must come back by itself. Data keys
        that were sealed are not left in it: what the manager wrote cannot be opened any more.
        """
        if self._held is None:
            self.load()
        held = self._held
        if held is None:
            self._save(_file_of(credentials, NO_KEYS, OPEN))
        elif held.lock.key and credentials.identity.role != NodeRole.MANAGER:
            self._cryptor = None
            self._save(_file_of(credentials, NO_KEYS, OPEN))
        else:
            self._save(_file_of(credentials, held.ring, held.lock))

    def cryptor(self) -> RingCryptor:
        """The cryptor with this node's data keys; the first one is made at the first call."""
        held = self._require()
        if not held.ring.keys:
            held = replace(held, ring=new_ring())
            self._save(held)
        if self._cryptor is None:
            self._cryptor = cryptor_of(held.ring)
        return self._cryptor

    # ---- the lock, and new data keys ----

    @property
    def lock(self) -> Lock:
        """What seals the keys now."""
        return self._require().lock

    @property
    def rotating(self) -> bool:
        """Whether files may still need an older data key."""
        return self._require().ring.rotating

    def relock(self, lock: Lock) -> None:
        """Seal the keys with another unlock key, or with none.

        With one comes a new data key: the old one has been on disk in the clear, or under a key
        that somebody may have kept.
        """
        held = self._require()
        ring = held.ring.rotated(os.urandom(KEY_BYTES)) if lock.key else held.ring
        self._save(replace(held, ring=ring, lock=lock))
        self._use(ring)

    def retire(self, in_use: Iterable[int]) -> None:
        """Forget the data keys that no file needs any more: all but the newest and `in_use`."""
        held = self._require()
        ring = held.ring.keeping(in_use)
        self._save(replace(held, ring=ring))
        self._use(ring)

    def _use(self, ring: KeyRing) -> None:
        # Behind the write: a record whose key is not on disk would be lost with the process.
        if self._cryptor is not None and ring.keys:
            self._cryptor.use(ring.keys, os.urandom(RANDOM_BYTES))

    # ---- the file ----

    def remove(self) -> None:
        """Forget everything: the node has left the swarm."""
        self._held = self._cryptor = None
        self._node.unlink(missing_ok=True)
        reach("identity.file-removed")
        if self.path.exists():
            _sync_directory(self.path)

    def _require(self) -> KeyFile:
        if self._held is None:
            self.load()
        assert self._held is not None, f"{self._node} is there before the node is a manager"
        return self._held

    def _save(self, file: KeyFile) -> None:
        self._write(self._node, keyfile.encode(file, os.urandom(SALT_BYTES)))
        self._held = file

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


def _file_of(credentials: Credentials, ring: KeyRing, lock: Lock) -> KeyFile:
    return KeyFile(
        key_pem=credentials.key_pem,
        certificate_pem=credentials.certificate_pem,
        root_pem=credentials.root_pem,
        ring=ring,
        lock=lock,
    )


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
