"""The lab as a pytest fixture: real hosts, real containerd, real daemons, and their faults.

A test module says what it needs and gets it once:

    LAB = LabSettings(managers=3, workers=2)

    def test_a_page_is_served(lab: LabDriver) -> None: ...

The fixtures `lab` and `fresh_lab` come from tests/e2e/conftest.py.
"""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyswarm.lab import cgroups, images, layout, machine, swarm
from pyswarm.lab.layout import PROGRAMS_NEEDED, REGISTRY
from pyswarm.lab.machine import Lab
from pyswarm.lab.syscalls import in_network

_numbers = itertools.count(1)
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """The lab that a test module wants; a module sets `LAB` to one of these."""

    managers: int = 3
    workers: int = 2
    daemon: bool = True
    swarm: bool = True  # form a swarm on the daemons


def missing_for_lab() -> str:
    """Why this machine cannot run a lab, in words; empty when it can."""
    if os.geteuid() != 0:
        return "a lab needs root"
    missing = [program for program in PROGRAMS_NEEDED if shutil.which(program) is None]
    return f"a lab needs {', '.join(missing)}" if missing else ""


class LabDriver:
    """What a test does with a lab. Hosts are m1, m2, ... and w1, w2, ...; `hub` is the bridge's."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.name = lab.layout.name
        self.hosts = [host.name for host in lab.hosts]
        self.start, self.stop, self.kill = lab.start, lab.stop, lab.kill
        self.heal = lab.heal
        self.kill_daemon, self.restart_daemon = lab.kill_daemon, lab.restart_daemon
        self.hold_daemon = lab.hold_daemon

    def address(self, host: str) -> str:
        """The host's address on the bridge."""
        return self.lab.layout.host(host).address

    def socket(self, host: str) -> str:
        """PYSWARM_HOST for a program that runs outside the lab, as this test does."""
        return self.lab.layout.socket(host)

    def exec(
        self, host: str, *command: str, timeout_seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a host or the hub; the caller looks at the exit code."""
        return self.lab.execute(host, *command, timeout_seconds=timeout_seconds)

    def output(self, host: str, *command: str) -> str:
        """The standard output of a command that must succeed inside a host."""
        result = self.exec(host, *command)
        said = f"{result.stdout}{result.stderr}"
        assert result.returncode == 0, f"{host}: {' '.join(command)}: {result.returncode}: {said}"
        return result.stdout

    def pyswarm(
        self, *arguments: str, host: str = "m1", timeout_seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a `pyswarm` command inside a host; the caller looks at the exit code."""
        return self.exec(host, "pyswarm", *arguments, timeout_seconds=timeout_seconds)

    def partition(self, host: str, *others: str) -> None:
        """Cut a host off from the others named, or from everything when none is."""
        self.lab.partition(host, others)

    def wait_until(
        self, condition: Callable[[], object], *, deadline_seconds: float = 60.0, what: str
    ) -> float:
        """Wait until `condition` holds; the seconds it took. Fails with `what` and the last value.

        An exception of the condition counts as "not yet": a daemon that is down cannot answer.
        """
        begun = time.monotonic()
        last: object = None
        while True:
            try:
                last = condition()
            except Exception as failure:  # the last one is part of the failure's message
                last = failure
            else:
                if last:
                    return time.monotonic() - begun
            if time.monotonic() - begun > deadline_seconds:
                raise AssertionError(f"not within {deadline_seconds:.0f} s: {what}; last: {last!r}")
            time.sleep(POLL_SECONDS)

    def fetch(
        self, host: str, port: int, path: str = "/", *, timeout_seconds: float = 5.0
    ) -> tuple[int, str]:
        """GET http://HOST:PORT/PATH from the hub, where no host is local: status and body."""
        address = self.address(host)

        def get() -> tuple[int, str]:
            connection = http.client.HTTPConnection(address, port, timeout=timeout_seconds)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode(errors="replace")
            finally:
                connection.close()

        return in_network(self.lab.hub.namespace("net"), get)

    def push_image(self, reference: str, *command: str, files: dict[str, str] | None = None) -> str:
        """Push an image of busybox that runs `command`; returns the reference for a service.

        `files` are scripts and pages to add: path without a leading slash, and content.
        """
        with tempfile.TemporaryDirectory() as directory:
            layer = busybox_layer(files or {})
            config = {"Cmd": list(command) or ["sh"], "Env": ["PATH=/bin"]}
            images.write_layout(Path(directory, "image"), [layer], config)
            self.lab.push(Path(directory, "image"), reference)
        return f"{REGISTRY}/{reference}"

    def leftovers(self, host: str) -> set[str]:
        """What a host holds beyond an empty one: compare before with after.

        Named by kind: `netns ...`, `link ...`, `rule ...`, `mount ...`, `cgroup ...`, `container
        ...`, `address ...`, `route ...`, `policy ...`. Counters are left out of the rules.
        """
        script = (
            "lsns --noheadings --output NS,COMMAND --type net | sed 's/^ */netns /';"
            "ip -oneline link | sed 's/^[0-9]*: \\([^:@]*\\).*/link \\1/';"
            "ip -oneline address | sed 's/^[0-9]*: *\\([^ ]* *[^ ]* [^ ]*\\).*/address \\1/';"
            "ip route show table all | grep -v '^broadcast\\|fe80\\|ff00' | sed 's/^/route /';"
            "ip rule | sed 's/^/policy /';"
            "nft --stateless list ruleset | sed 's/^[ \\t]*/rule /';"
            "cut -d' ' -f5 /proc/self/mountinfo | sed 's/^/mount /';"
            "find /sys/fs/cgroup -mindepth 2 -type d | sed 's/^/cgroup /';"
            "ctr namespaces list --quiet | while read -r each; do"
            "  ctr --namespace $each containers list --quiet | sed 's/^/container /'; done"
        )
        lines = self.output(host, "sh", "-c", script).splitlines()
        return {line.strip() for line in lines if len(line.split()) > 1}


def busybox_layer(files: dict[str, str]) -> images.Layer:
    """A root file system of one static busybox with all its names, and these files."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox is not installed: run deploy/install-packages.sh"
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split() if name != "busybox"]
    content = {path: (text.encode(), 0o755) for path, text in files.items()}
    content["bin/busybox"] = (Path(busybox).read_bytes(), 0o755)
    content["etc/passwd"] = (b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:\n", 0o644)
    content["etc/group"] = (b"root:x:0:\nnogroup:x:65534:\n", 0o644)
    directories = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "var/tmp")
    return images.files_layer(content, {f"bin/{name}": "busybox" for name in names}, directories)


@contextmanager
def running_lab(settings: LabSettings) -> Iterator[LabDriver]:
    """A lab of its own name that is up inside the `with`, and whose removal is checked."""
    planned = layout.plan(
        f"t{os.getpid()}-{next(_numbers)}",
        managers=settings.managers,
        workers=settings.workers,
        daemon=settings.daemon,
        publish=(),
    )
    try:
        lab = Lab.create(planned)
        if settings.daemon and settings.swarm:
            swarm.form(lab, lambda line: None)
        yield LabDriver(lab)
    finally:
        stays = machine.remove(planned)
    assert not stays, f"the lab could not be removed whole: {stays}"
    assert not cgroups.remaining(planned.name)
