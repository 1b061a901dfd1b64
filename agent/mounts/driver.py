"""Makes and removes what a container is shown from the host.

    <run>/tasks/<id>/      hosts, resolv.conf, hostname, configs
    <run>/secrets/<id>/    a tmpfs of this task alone, read-only once it is written
    <state>/volumes/<name>/_data
    <state>/anonymous/<id>/<n>/_data   volumes without a name, removed with the task

containerd must live in the same mount namespace: it binds these paths into containers, and a
tmpfs that it does not see would be an empty directory there.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.hostfiles import etc_hosts, hostname, resolv_conf
from agent.mounts.layout import SECRETS_TARGET, PlacedFile, place
from pyswarm.errors import InvalidArgument, SwarmError, Unavailable
from pyswarm.model import ContainerSpec, Mount, MountType, Task
from pyswarm.model.ids import is_id

_MS_RDONLY: Final = 0x1
_MS_NOSUID: Final = 0x2
_MS_NODEV: Final = 0x4
_MS_NOEXEC: Final = 0x8
_MS_REMOUNT: Final = 0x20
_MNT_DETACH: Final = 0x2
_SECRET_FLAGS: Final = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_VOLUME_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    if result != 0:
        code = ctypes.get_errno()
        hint = ": the daemon must run as root" if code == errno.EPERM else ""
        raise Unavailable(f"cannot mount {kind} at {target}: {os.strerror(code)}{hint}")


def _unmount(target: Path) -> None:
    # Lazily: the mounts in a container that is being deleted may last a moment longer.
    if _libc.umount2(os.fsencode(target), _MNT_DETACH) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise Unavailable(f"cannot unmount {target}: {os.strerror(code)}")


def _make_folder(path: Path) -> None:
    """With all parents, passable for the container's users whatever the daemon's umask is."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def _write(path: Path, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
    _make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)


def _bind(source: Path, target: str, read_only: bool = True) -> Mount:
    return Mount(type=MountType.BIND, source=str(source), target=target, read_only=read_only)


class TaskFiles:
    """The files of all tasks of one agent; needs root for secrets only."""

    def __init__(self, run_directory: Path, state_directory: Path) -> None:
        self._tasks = run_directory / "tasks"
        self._secrets = run_directory / "secrets"
        self._volumes = state_directory / "volumes"
        self._anonymous = state_directory / "anonymous"
        for path in (self._tasks, self._secrets, self._volumes, self._anonymous):
            # 0700: what a container may read by its file's mode, a user of the host may not.
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def prepare(
        self,
        task: Task,
        container: ContainerSpec,
        secrets: Mapping[str, bytes],
        configs: Mapping[str, bytes],
    ) -> tuple[Mount, ...]:
        """Write everything that the task's container is shown; answers its mounts in order.

        `container` is the task's, placeholders filled. Secrets that are still there from before
        a restart of the daemon are left as they are. Done again, it gives the same.
        """
        try:
            mounts = self._host_files(task, container)
            mounts += self._config_mounts(task.id, container, configs)
            mounts += self._secret_mounts(task.id, container, secrets)
            mounts += [
                self._mount_of(mount, self._anonymous / task.id / str(number))
                for number, mount in enumerate(container.mounts)
            ]
        except OSError as error:
            raise Unavailable(f"cannot write the files of task {task.name}: {error}") from error
        return tuple(mounts)

    def _host_files(self, task: Task, container: ContainerSpec) -> list[Mount]:
        folder = self._tasks / task.id
        name = hostname(container, task)
        addresses = [a.address.partition("/")[0] for a in task.networks if a.address]
        texts = {
            "hosts": etc_hosts(name, addresses, container.hosts),
            "resolv.conf": resolv_conf(container),
            "hostname": f"{name}\n",
        }
        for file, text in texts.items():
            _write(folder / file, text.encode(), 0o644)
        return [_bind(folder / file, f"/etc/{file}", read_only=False) for file in texts]

    def _config_mounts(
        self, task_id: str, container: ContainerSpec, contents: Mapping[str, bytes]
    ) -> list[Mount]:
        folder = self._tasks / task_id / "configs"
        placed = place(container.configs, secrets=False)
        for file in placed:
            _write_placed(folder, file, contents)
        return [_bind(folder / file.inside, file.target) for file in placed]

    def _secret_mounts(
        self, task_id: str, container: ContainerSpec, contents: Mapping[str, bytes]
    ) -> list[Mount]:
        placed = place(container.secrets, secrets=True)
        if not placed:
            return []
        folder = self._secrets / task_id
        if task_id not in self.held():
            self._drop_secrets(task_id)
            folder.mkdir(mode=0o700)
            size = sum(len(data) for data in contents.values()) + 4096 * (4 * len(placed) + 8)
            _mount("tmpfs", folder, "tmpfs", _SECRET_FLAGS, f"size={size},mode=0755")
            for file in placed:
                _write_placed(folder, file, contents)
            # Read-only is also the mark that everything is written.
            _mount("tmpfs", folder, "tmpfs", _SECRET_FLAGS | _MS_REMOUNT | _MS_RDONLY, "")
        mounts = [_bind(folder / file.inside, file.target) for file in placed if not file.shared]
        if any(file.shared for file in placed):
            mounts.insert(0, _bind(folder / "shared", SECRETS_TARGET))
        return mounts

    def _mount_of(self, mount: Mount, anonymous: Path) -> Mount:
        if mount.type is MountType.BIND and not Path(mount.source).exists():
            raise InvalidArgument(
                f'"{mount.source}" is to be mounted at {mount.target}, and does not exist on '
                "this node"
            )
        if mount.type is not MountType.VOLUME:
            return mount
        folder = self._volumes / mount.source if mount.source else anonymous
        if mount.source and not _VOLUME_NAME.fullmatch(mount.source):
            raise InvalidArgument(
                f'"{mount.source}" cannot name a volume: letters, digits, "_", "." and "-", '
                "and the first a letter or digit"
            )
        _make_folder(folder / "_data")
        return replace(mount, type=MountType.BIND, source=str(folder / "_data"))

    def held(self) -> frozenset[str]:
        """The tasks whose secrets are complete in memory, also from before a restart."""
        prefix = f"{self._secrets}/"
        found = set()
        with open("/proc/self/mountinfo") as table:
            for line in table:
                fields = line.split(" ")
                # 4: mount point, 5: options of this mount; read-only says that it is complete.
                if fields[4].startswith(prefix) and "ro" in fields[5].split(","):
                    found.add(fields[4].removeprefix(prefix))
        return frozenset(found)

    def remove(self, task_id: str) -> None:
        """Remove every file of the task; volumes stay. Raises Unavailable."""
        assert is_id(task_id), f"{task_id!r} is no task id"
        try:
            self._drop_secrets(task_id)
            for root in (self._tasks, self._anonymous):
                if (root / task_id).is_dir():
                    shutil.rmtree(root / task_id)
        except OSError as error:
            raise Unavailable(f"cannot remove the files of task {task_id}: {error}") from error

    def _drop_secrets(self, task_id: str) -> None:
        folder = self._secrets / task_id
        if folder.is_dir():
            _unmount(folder)
            folder.rmdir()

    def strays(self, assigned: frozenset[str]) -> tuple[str, ...]:
        """The tasks of which files are here although nobody wants them, sorted."""
        roots = (self._tasks, self._secrets, self._anonymous)
        here = {path.name for root in roots for path in root.iterdir()}
        return tuple(sorted(here - assigned))


def _write_placed(folder: Path, file: PlacedFile, contents: Mapping[str, bytes]) -> None:
    reference = file.reference
    if reference.id not in contents:
        raise SwarmError(f"the content of {reference.name} is not here: this is a bug")
    _write(folder / file.inside, contents[reference.id], reference.mode, file.uid, file.gid)
