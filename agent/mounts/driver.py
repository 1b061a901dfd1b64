"""Makes and removes what a container is shown from the host.

    <run>/tasks/<id>/      hosts, resolv.conf, hostname, configs; `shown`: ids of what is shown
    <run>/secrets/<id>/    a tmpfs of this task alone, read-only once it is written: secrets, and
                           configs that were filled here, since they may hold secrets
        single/<n>         a file that is a mount of its own, here and in configs/
        single/.<n>.<inode>    what it was before a live rotation, while it is mounted
    <state>/volumes/<name>/_data       see agent/volumes/disk.py
    <state>/anonymous/<id>/<n>/_data   volumes without a name, removed with the task's record

containerd must live in the same mount namespace: it binds these paths into containers, and a
tmpfs that it does not see would be an empty directory there.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.executor.containers import FileChange
from agent.hostfiles import etc_hosts, hostname, resolv_conf
from agent.mounts.layout import SECRETS_TARGET, PlacedFile, place, private_place
from agent.volumes.disk import VolumeDirectory
from pyswarm.errors import InvalidArgument, SwarmError, Unavailable
from pyswarm.model import ContainerSpec, Mount, MountType, Task, VolumeSpec
from pyswarm.model.ids import is_id

_MS_RDONLY: Final = 0x1
_MS_NOSUID: Final = 0x2
_MS_NODEV: Final = 0x4
_MS_NOEXEC: Final = 0x8
_MS_REMOUNT: Final = 0x20
_MS_BIND: Final = 0x1000
_MNT_DETACH: Final = 0x2
_SECRET_FLAGS: Final = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_NOTHING: Final[frozenset[str]] = frozenset()

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
        self._anonymous = state_directory / "anonymous"
        self._shown: dict[str, str] = {}
        for path in (self._tasks, self._secrets, self._anonymous):
            # 0700: what a container may read by its file's mode, a user of the host may not.
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.volumes = VolumeDirectory(state_directory / "volumes", run_directory / "volumes")

    def prepare(
        self,
        task: Task,
        container: ContainerSpec,
        secrets: Mapping[str, bytes],
        configs: Mapping[str, bytes],
        private: frozenset[str] = _NOTHING,
        volumes: Mapping[str, VolumeSpec] | None = None,
    ) -> tuple[Mount, ...]:
        """Write everything that the task's container is shown; answers its mounts in order.

        `container` is the task's, placeholders filled. Secrets that are still there from before
        a restart of the daemon are left as they are. Done again, it gives the same. `private` are
        the ids of configs that stay in memory, `volumes` those that the managers know, by name.
        """
        try:
            if _references(task) and task.id not in self.held():
                self._mark_shown(task)
            mounts = self._host_files(task, container)
            mounts += self._config_mounts(task.id, container, configs, private)
            mounts += self._private_mounts(task.id, container, {**secrets, **configs}, private)
            mounts += [
                self._mount_of(task.id, mount, str(number), volumes or {})
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
        self,
        task_id: str,
        container: ContainerSpec,
        contents: Mapping[str, bytes],
        private: frozenset[str],
    ) -> list[Mount]:
        folder = self._tasks / task_id / "configs"
        placed = [f for f in place(container.configs, secrets=False) if f.id not in private]
        for file in placed:
            _write_placed(folder, file, contents)
        return [_bind(folder / file.inside, file.target) for file in placed]

    def _private_mounts(
        self,
        task_id: str,
        container: ContainerSpec,
        contents: Mapping[str, bytes],
        private: frozenset[str],
    ) -> list[Mount]:
        placed = private_place(container, private)
        if not placed:
            return []
        folder = self._secrets / task_id
        if task_id not in self.held():
            self._drop_secrets(task_id)
            folder.mkdir(mode=0o700)
            options = f"size={_size_bytes(placed, contents)},mode=0755"
            _mount("tmpfs", folder, "tmpfs", _SECRET_FLAGS, options)
            for file in placed:
                _write_placed(folder, file, contents)
            _make_read_only(folder)
        mounts = [_bind(folder / file.inside, file.target) for file in placed if not file.shared]
        if any(file.shared for file in placed):
            mounts.insert(0, _bind(folder / "shared", SECRETS_TARGET))
        return mounts

    # ---- a live rotation ----

    def is_stale(self, task: Task) -> bool:
        """Whether the files of a task that was prepared show other versions than it refers to."""
        if task.id not in self._shown:
            with suppress(OSError):
                self._shown[task.id] = (self._tasks / task.id / "shown").read_text()
        return self._shown.get(task.id, _references(task)) != _references(task)

    def shown(self, task_id: str) -> frozenset[str]:
        """The ids of the versions that a task's files show."""
        return frozenset(self._shown.get(task_id, "").split())

    def _mark_shown(self, task: Task) -> None:
        _write(self._tasks / task.id / "shown", _references(task).encode(), 0o600)
        self._shown[task.id] = _references(task)

    def refresh(
        self,
        task: Task,
        container: ContainerSpec,
        secrets: Mapping[str, bytes],
        configs: Mapping[str, bytes],
        private: frozenset[str],
    ) -> tuple[FileChange, ...]:
        """Replace the files of a container that runs by those of other versions; answers what it
        does not see by that alone. Raises Unavailable.

        A file in /run/secrets, which is one mount of a directory, is seen at once. One that is a
        mount of its own, as each config is, stays what it was through that mount.
        """
        contents = {**secrets, **configs}
        changes: list[FileChange] = []
        try:
            folder = self._tasks / task.id / "configs"
            for file in place(container.configs, secrets=False):
                if file.id not in private:
                    changes += _replace(folder / file.inside, file, contents[file.id])
            placed = private_place(container, private)
            folder = self._secrets / task.id
            if placed and folder.is_dir():
                with _writable(folder, _size_bytes(placed, contents)):
                    for file in placed:
                        changes += _replace(folder / file.inside, file, contents[file.id])
        except (OSError, KeyError) as error:
            raise Unavailable(f"cannot replace the files of task {task.name}: {error}") from error
        return tuple(changes)

    def settle(self, task: Task, gone: Collection[Path]) -> None:
        """The container sees what the task refers to, and was told; `gone` are earlier files that
        it has mounted no more. Raises Unavailable."""
        if task.id not in self._shown:
            return  # it was removed meanwhile
        folder = self._secrets / task.id
        try:
            is_secret = any(path.is_relative_to(folder) for path in gone)
            with _writable(folder) if is_secret else nullcontext():
                for path in gone:
                    path.unlink(missing_ok=True)
            self._mark_shown(task)
        except OSError as error:
            raise Unavailable(f"cannot remove files of task {task.name}: {error}") from error

    def _mount_of(
        self, task_id: str, mount: Mount, number: str, volumes: Mapping[str, VolumeSpec]
    ) -> Mount:
        if mount.type is MountType.BIND and not Path(mount.source).exists():
            raise InvalidArgument(
                f'"{mount.source}" is to be mounted at {mount.target}, and does not exist on '
                "this node"
            )
        if mount.type is not MountType.VOLUME:
            return mount
        if mount.source:
            folder = self.volumes.use(task_id, volume_spec(mount, volumes))
        else:
            folder = self._anonymous / task_id / number / "_data"
            _make_folder(folder)
        return replace(mount, type=MountType.BIND, source=str(folder))

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
        self._shown.pop(task_id, None)
        try:
            self._drop_secrets(task_id)
            self.volumes.leave(task_id)
            if (self._tasks / task_id).is_dir():
                shutil.rmtree(self._tasks / task_id)
        except OSError as error:
            raise Unavailable(f"cannot remove the files of task {task_id}: {error}") from error

    def forget(self, task_id: str) -> None:
        """Remove the task's volumes without a name, too. Raises Unavailable."""
        assert is_id(task_id), f"{task_id!r} is no task id"
        try:
            if (self._anonymous / task_id).is_dir():
                shutil.rmtree(self._anonymous / task_id)
        except OSError as error:
            raise Unavailable(f"cannot remove volumes of task {task_id}: {error}") from error

    def _drop_secrets(self, task_id: str) -> None:
        folder = self._secrets / task_id
        if folder.is_dir():
            _unmount(folder)
            folder.rmdir()

    def strays(self, assigned: frozenset[str]) -> tuple[str, ...]:
        """The tasks of which files are here although nobody wants them, sorted."""
        here = {path.name for root in (self._tasks, self._secrets) for path in root.iterdir()}
        return tuple(sorted((here | self.volumes.users()) - assigned))

    def forgotten(self, known: frozenset[str]) -> tuple[str, ...]:
        """The tasks of which volumes without a name are here although they are not known."""
        return tuple(sorted({path.name for path in self._anonymous.iterdir()} - known))


def volume_spec(mount: Mount, known: Mapping[str, VolumeSpec]) -> VolumeSpec:
    """How a mount's volume is made: as the managers know it, else as the mount says."""
    made = VolumeSpec(name=mount.source, labels=mount.labels, driver_options=mount.driver_options)
    return known.get(mount.source, made)


def _references(task: Task) -> str:
    container = task.spec.container
    return " ".join(r.id for r in (*container.secrets, *container.configs))


def _size_bytes(placed: list[PlacedFile], contents: Mapping[str, bytes]) -> int:
    """Of a tmpfs for these files: whole pages, and some for directories."""
    return sum(len(contents.get(file.id, b"")) + 3 * 4096 for file in placed) + 8 * 4096


def _make_read_only(folder: Path) -> None:
    """Which is also the mark that everything is written."""
    # The mount alone: a file system with a file that was removed, and that a container still reads,
    # does not become read-only.
    flags = _SECRET_FLAGS | _MS_REMOUNT | _MS_BIND | _MS_RDONLY
    _mount("tmpfs", folder, "tmpfs", flags, "")


@contextmanager
def _writable(folder: Path, more_bytes: int = 0) -> Iterator[None]:
    """A task's tmpfs for a moment, with so much room beside what it has."""
    options = ""
    if more_bytes:
        found = os.statvfs(folder)
        options = f"size={(found.f_blocks - found.f_bfree) * found.f_frsize + more_bytes}"
    _mount("tmpfs", folder, "tmpfs", _SECRET_FLAGS | _MS_REMOUNT, options)
    try:
        yield
    finally:
        _make_read_only(folder)


def _replace(path: Path, file: PlacedFile, data: bytes) -> list[FileChange]:
    """Have the data in the file by a rename; a change where that is not seen."""
    if not path.exists() or path.read_bytes() != data:
        draft = path.with_name(f".{path.name}.new")
        _write(draft, data, file.reference.mode, file.uid, file.gid)
        if not file.shared and path.exists():
            # The kernel detaches what is mounted upon a file when its last name goes.
            path.rename(path.with_name(f".{path.name}.{path.stat().st_ino}"))
        draft.replace(path)
    if file.shared:
        return []
    earlier = tuple(path.parent.glob(f".{path.name}.*"))
    return [FileChange(source=path, target=file.target, earlier=earlier)]


def _write_placed(folder: Path, file: PlacedFile, contents: Mapping[str, bytes]) -> None:
    reference = file.reference
    if reference.id not in contents:
        raise SwarmError(f"the content of {reference.name} is not here: this is a bug")
    _write(folder / file.inside, contents[reference.id], reference.mode, file.uid, file.gid)
