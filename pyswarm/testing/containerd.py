"""A containerd and a registry of one's own for tests, in private directories, cleaned up always.

containerd runs in a mount namespace of its own, because its shims' sockets are at a fixed path.
The stage's directory is a shared mount, and containerd's namespace a slave of it: what a test
mounts below it (network namespaces, secrets), containerd sees, as it does on a real host.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from agent.executor.containers import TASK_LABEL, ContainerRequest
from agent.runtime import ContainerdRuntime
from pyswarm.lab.cgroups import hierarchies
from pyswarm.lab.host import CONTAINERD_CONFIG
from pyswarm.model import ContainerSpec, Mount, Resources

PROGRAMS_NEEDED: Final = ("containerd", "runc", "docker-registry", "busybox", "unshare", "nsenter")
READY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
_REGISTRY_CONFIG: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{root}"}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def missing_for_containerd() -> str:
    """Why this machine cannot run the tests on containerd, in words; empty when it can."""
    if os.geteuid() != 0:
        return "a containerd needs root"
    missing = [program for program in PROGRAMS_NEEDED if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def wait_until(condition: Any, what: str, deadline_seconds: float = READY_SECONDS) -> None:
    """Wait until `condition()` holds; fails with `what`."""
    end = time.monotonic() + deadline_seconds
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)


class Stage:
    """`directory` is shared with containerd; `cgroup_parent` is this stage's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "containerd.sock"
        self.cgroup_parent = f"/pyswarm-test-{os.getpid()}-{directory.name[-8:]}"
        self.registry = ""
        self._containerd: subprocess.Popen[bytes] | None = None
        self._registry: subprocess.Popen[bytes] | None = None
        self._holder: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The namespace, containerd, the registry."""
        _run("mount", "--bind", str(self.directory), str(self.directory))
        _run("mount", "--make-shared", str(self.directory))
        config = CONTAINERD_CONFIG.format(state=self.directory)
        config = config.replace("/run/containerd/containerd.sock", str(self.socket))
        (self.directory / "containerd.toml").write_text(config)
        self._holder = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "slave", "sh", "-c"),
                "mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && echo ready"
                " && exec cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.start_containerd()
        self.start_registry()

    def start_containerd(self) -> None:
        """Start containerd and wait until it answers."""
        assert self._holder is not None
        with (self.directory / "containerd.log").open("ab") as log:
            self._containerd = subprocess.Popen(
                [
                    *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "containerd"),
                    *("--config", str(self.directory / "containerd.toml")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: _accepts(self.socket), f"containerd answers at {self.socket}")

    def kill_containerd(self) -> None:
        """SIGKILL; containers live on."""
        assert self._containerd is not None
        self._containerd.kill()
        self._containerd.wait()

    def start_registry(self) -> None:
        """Start the registry, at the same address as before where there was one."""
        if not self.registry:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.registry = f"127.0.0.1:{probe.getsockname()[1]}"
        port = int(self.registry.rpartition(":")[2])
        config = self.directory / "registry.yml"
        config.write_text(_REGISTRY_CONFIG.format(root=self.directory / "registry", port=port))
        with (self.directory / "registry.log").open("ab") as log:
            self._registry = subprocess.Popen(
                ["docker-registry", "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: _accepts(("127.0.0.1", port)), "the registry answers")

    def stop_registry(self) -> None:
        """The registry is away."""
        assert self._registry is not None
        self._registry.kill()
        self._registry.wait()

    def make_network(self, name: str) -> str:
        """The path of a new network namespace."""
        path = self.directory / "netns" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        _run("unshare", f"--net={path}", "true")
        return str(path)

    def mounts(self) -> list[str]:
        """Mount points in containerd's namespace that are this stage's."""
        assert self._holder is not None
        table = Path(f"/proc/{self._holder.pid}/mountinfo").read_text()
        points = (line.split()[4] for line in table.splitlines())
        return [point for point in points if point.startswith((str(self.directory), "/run/cont"))]

    def cgroups(self) -> list[Path]:
        """Cgroups of containers that exist, in any hierarchy."""
        inner = self.cgroup_parent.lstrip("/")
        roots = (found.mountpoint / inner for found in hierarchies())
        return [path for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()]

    def processes(self) -> list[int]:
        """Shims and containers: what lives in containerd's mount namespace, or our cgroups."""
        found = set()
        if self._holder is not None:
            with suppress(OSError):
                namespace = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")
                for entry in Path("/proc").iterdir():
                    with suppress(OSError):
                        if entry.name.isdecimal() and os.readlink(entry / "ns/mnt") == namespace:
                            found.add(int(entry.name))
                found.discard(self._holder.pid)
                if self._containerd is not None:
                    found.discard(self._containerd.pid)
        for group in self.cgroups():
            with suppress(OSError):
                found |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
        return sorted(found)

    def remove(self) -> None:
        """End every process and take away every trace."""
        if self._containerd is not None:
            self.kill_containerd()
        if self._registry is not None:
            self.stop_registry()

        def gone() -> bool:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not self.processes()

        wait_until(gone, "the processes of this stage end")
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()
        for found in hierarchies():
            parent = found.mountpoint / self.cgroup_parent.lstrip("/")
            if parent.is_dir():
                for group in (*parent.iterdir(), parent):
                    if group.is_dir():
                        wait_until(lambda group=group: _rmdir(group), f"{group} is empty")
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            point = line.split()[4]
            if point == str(self.directory) or point.startswith(f"{self.directory}/"):
                _run("umount", "--lazy", point)


@contextmanager
def running_containerd() -> Iterator[Stage]:
    """A stage that is up inside the `with`."""
    directory = Path(tempfile.mkdtemp(prefix="pyswarm-", dir="/var/tmp"))
    stage = Stage(directory)
    try:
        stage.start()
        yield stage
    finally:
        stage.remove()
        shutil.rmtree(directory)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def _rmdir(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True


def _accepts(address: Path | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(str(address) if isinstance(address, Path) else address)
        except OSError:
            return False
        return True


class Node:
    """A stage seen through the runtime; each `runtime()` is a daemon that starts anew."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.image = f"{stage.registry}/busybox:1"
        self._count = 0

    @asynccontextmanager
    async def runtime(self) -> AsyncIterator[ContainerdRuntime]:
        """Connected; closed at the end, while containers run on."""
        runtime = ContainerdRuntime(
            self.stage.socket,
            self.stage.directory / "state",
            self.stage.directory / "run",
            cgroup_parent=self.stage.cgroup_parent,
            insecure_registries=[],
        )
        await runtime.connect()
        try:
            yield runtime
        finally:
            await runtime.close()

    def request(
        self,
        *command: str,
        mounts: Sequence[Mount] = (),
        limits: Resources | None = None,
        log_options: Mapping[str, str] | None = None,
        namespace: str = "",
        image: str = "",
        **wishes: Any,
    ) -> ContainerRequest:
        """A container of a new id; `wishes` are fields of its ContainerSpec."""
        self._count += 1
        container_id = f"task-{self._count}"
        container = ContainerSpec(image=image or self.image, command=command, **wishes)
        return ContainerRequest(
            id=container_id,
            container=container,
            limits=limits or Resources(),
            mounts=tuple(mounts),
            namespace=namespace,
            hostname="box",
            labels={TASK_LABEL: container_id},
            log_options=log_options or {},
        )

    async def output(self, request: ContainerRequest) -> tuple[int, str]:
        """Run a container to its end: exit code and everything that it wrote."""
        async with self.runtime() as runtime:
            await runtime.create(request)
            await runtime.start(request.id)
            ended = await runtime.wait(request.id)
            lines = [
                line.data.decode()
                async for line in runtime.logs(request.id, follow=True, tail=-1, since=0.0)
                if line is not None
            ]
            await runtime.delete(request.id)
            return ended.exit_code, "\n".join(lines)
