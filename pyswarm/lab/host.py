"""One host seen from outside: power on and off, power cut, commands inside, its programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pyswarm.errors import DeadlineExceeded, FailedPrecondition, SwarmError
from pyswarm.lab import cgroups, process
from pyswarm.lab.layout import HUB, HUB_ADDRESS, REGISTRY, Host, Layout
from pyswarm.lab.process import Process

READY_SECONDS = 60.0
STOP_SECONDS = 90.0
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD_CONFIG = """\
version = 2
root = "{state}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
  "io.containerd.internal.v1.opt",
]
[grpc]
  address = "/run/containerd/containerd.sock"
"""
REGISTRY_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{state}/registry"}}, delete: {{enabled: true}}}}
http: {{addr: ":5000"}}
"""


def init_of(layout: Layout, name: str) -> Process | None:
    """PID 1 of a host, or None when the host is off."""
    return process.load(layout.state / name / "init.json")


def running(layout: Layout, name: str) -> Process:
    """PID 1 of a host that is on; FailedPrecondition says how to start one that is off."""
    found = init_of(layout, name)
    if found is None:
        raise FailedPrecondition(f"host {name} is off; start it with: pyswarm lab start {name}")
    return found


def search_path() -> str:
    """PATH inside a host: this Python's own programs first, so that `pyswarm` is this one."""
    own = str(Path(sys.executable).parent)
    return f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _programs(layout: Layout, host: Host | None) -> list[dict[str, object]]:
    if host is None:
        config = str(layout.state / HUB / "registry.yml")
        return [{"name": "registry", "argv": ["docker-registry", "serve", config]}]
    state = layout.state / host.name
    found: list[dict[str, object]] = [
        {"name": "containerd", "argv": ["containerd", "--config", f"{state}/containerd.toml"]}
    ]
    if layout.daemon:
        program = str(Path(sys.executable).with_name("pyswarm"))
        argv = [program, "daemon", "--state-dir", f"{state}/pyswarm"]
        argv += ["--hostname", host.name, "--advertise-addr", host.address]
        argv += ["--insecure-registry", REGISTRY.partition(":")[0]]
        found.append({"name": "daemon", "argv": argv, "after": CONTAINERD_SOCKET})
    return found


def _write_files(layout: Layout, name: str, host: Host | None) -> Path:
    """The host's own files; returns the path of the description for its PID 1."""
    state = layout.state / name
    for directory in (state, state / "log", state / "etc", state / "pyswarm"):
        directory.mkdir(mode=0o700, exist_ok=True)
    (state / "etc").chmod(0o755)  # resolvers of unprivileged users read these
    lines = ["127.0.0.1 localhost", f"{HUB_ADDRESS} {HUB} {REGISTRY.partition(':')[0]}"]
    lines += [f"{each.address} {each.name}" for each in layout.hosts]
    (state / "etc" / "hosts").write_text("\n".join(lines) + "\n")
    (state / "etc" / "hostname").write_text(f"{name}\n")
    (state / "etc" / "resolv.conf").write_text(f"nameserver {HUB_ADDRESS}\n")
    if host is None:
        (state / "registry.yml").write_text(REGISTRY_CONFIG.format(state=state))
    else:
        (state / "containerd.toml").write_text(CONTAINERD_CONFIG.format(state=state))
    for held in state.glob("hold-*"):
        held.unlink()
    spec = {
        "lab": layout.name,
        "name": name,
        "state": str(state),
        "programs": _programs(layout, host),
        "environment": {"PATH": search_path(), "LANG": "C.UTF-8", "HOME": "/root"},
    }
    path = state / "init-spec.json"
    path.write_text(json.dumps(spec))
    return path


class Booting:
    """A host whose PID 1 has its namespaces and waits for the network and the word `go`."""

    def __init__(self, layout: Layout, name: str, host: Host | None = None) -> None:
        self._layout, self._name = layout, name
        if left := cgroups.remove(layout.name, name):
            raise FailedPrecondition(f"processes of host {name} still hold the cgroup {left[0]}")
        cgroups.create(layout.name, name)
        spec = _write_files(layout, name, host)
        with (spec.parent / "log" / "init.log").open("ab") as log:
            self._starter = subprocess.Popen(
                [sys.executable, "-m", "pyswarm.lab.hostinit", str(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
            )
        self.init = process.identify(int(self._line() or 0))
        self.init.save(spec.parent / "init.json")

    def _line(self) -> str:
        assert self._starter.stdout is not None
        line = self._starter.stdout.readline().strip()
        if not line:
            raise SwarmError(
                f"host {self._name} did not start: {tail(self._layout, self._name, 'init')}"
            )
        return line

    def go(self) -> Process:
        """Let it mount its files and start its programs."""
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.write("go\n")
        self._starter.stdin.close()
        line = self._line()
        assert line == "ready", f"PID 1 of {self._name} said {line!r}"
        self._starter.stdout.close()
        self._starter.wait()
        _link_run_directory(self._layout, self._name, self.init)
        return self.init


def _link_run_directory(layout: Layout, name: str, init: Process) -> None:
    """Make the host's private /run/pyswarm reachable from outside, by way of its PID 1.

    A link and not a shared directory: /run of a host is a tmpfs of its own, on which the daemon
    may put what must not reach the disk, and it is gone when the power is cut.
    """
    draft = layout.run / f".{name}.new"
    draft.unlink(missing_ok=True)
    draft.symlink_to(f"/proc/{init.pid}/root/run/pyswarm")
    draft.rename(layout.run / name)


def tail(layout: Layout, name: str, program: str, lines: int = 5) -> str:
    """The last lines of a program's log, on one line, for an error message."""
    path = layout.state / name / "log" / f"{program}.log"
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return "its log is empty"
    return " | ".join(text.strip().splitlines()[-lines:]) or "its log is empty"


def enter_argv(layout: Layout, name: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` inside a host: in its cgroups and all its namespaces.

    A shell joins the cgroups first, because a namespace alone would leave what it starts in the
    caller's cgroup, where a power cut does not clean up.
    """
    init = running(layout, name)
    join = 'while [ "$1" != -- ]; do echo 0 > "$1"; shift; done; shift; exec "$@"'
    files = [str(path) for path in cgroups.procs_files(layout.name, name)]
    kinds = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    enter = ["nsenter", f"--target={init.pid}", *kinds, "--"]
    environment = ["env", f"PATH={search_path()}"]
    return ["sh", "-c", join, "lab", *files, "--", *enter, *environment, *command]


def execute(
    layout: Layout, name: str, command: Sequence[str], *, timeout_seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run a command inside a host and return its outcome; DeadlineExceeded names the command."""
    argv = enter_argv(layout, name, command)
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(
            f"{' '.join(command)} on {name} took longer than {timeout_seconds:.0f} s"
        ) from None


def power_off(layout: Layout, name: str) -> None:
    """SIGTERM to PID 1, which stops daemon, containers and containerd, in this order."""
    init = running(layout, name)
    init.send(signal.SIGTERM)
    if not process.wait_dead(init, STOP_SECONDS):
        init.send(signal.SIGKILL)
        process.wait_dead(init, 10.0)
    clean_up(layout, name)


def power_cut(layout: Layout, name: str) -> None:
    """SIGKILL to PID 1: the kernel ends every process of the host, which says no goodbye."""
    init = running(layout, name)
    init.send(signal.SIGKILL)
    process.wait_dead(init, 10.0)
    clean_up(layout, name)


def clean_up(layout: Layout, name: str) -> None:
    """Remove what a host that is off leaves outside its namespaces: cgroups and the link."""
    process.kill_all(cgroups.processes(layout.name, name))
    cgroups.remove(layout.name, name)
    (layout.run / name).unlink(missing_ok=True)


def program_pid(layout: Layout, name: str, program: str) -> int:
    """The id, here in the root namespace, of a host's program; 0 when it does not run now."""
    init = init_of(layout, name)
    if init is None:
        return 0
    try:
        inner = json.loads((layout.state / name / "programs.json").read_text()).get(program, 0)
    except FileNotFoundError:
        return 0
    matches = [pid for pid in init.children() if inner and process.inner_pid(pid) == inner]
    return matches[0] if matches else 0


def signal_program(layout: Layout, name: str, program: str, number: int) -> Process:
    """Send a signal to one program of a host; FailedPrecondition when it does not run."""
    running(layout, name)
    pid = program_pid(layout, name, program)
    if not pid:
        raise FailedPrecondition(f"{program} does not run on host {name}")
    target = process.identify(pid)
    target.send(number)
    return target


def hold_program(layout: Layout, name: str, program: str, *, down: bool) -> None:
    """Keep a program down after its next death, or let PID 1 start it again."""
    running(layout, name)
    path = layout.state / name / f"hold-{program}"
    if down:
        path.touch()
    else:
        path.unlink(missing_ok=True)


def socket_answers(layout: Layout, name: str, path: str) -> bool:
    """Whether somebody accepts connections on a unix socket inside a host."""
    init = init_of(layout, name)
    return init is not None and _accepts(f"/proc/{init.pid}/root{path}")


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(path)
        except OSError:
            return False
        return True


def wait_ready(layout: Layout, name: str, deadline_seconds: float = READY_SECONDS) -> None:
    """Wait until containerd, and the daemon where there is one, accept connections."""
    sockets = {"containerd": CONTAINERD_SOCKET}
    if layout.daemon:
        sockets["daemon"] = "/run/pyswarm/pyswarm.sock"
    end = time.monotonic() + deadline_seconds
    for program, path in sockets.items():
        while not socket_answers(layout, name, path):
            if time.monotonic() > end:
                raise DeadlineExceeded(
                    f"{program} on {name} does not answer within {deadline_seconds:.0f} s; its log"
                    f" ends: {tail(layout, name, program)}"
                )
            time.sleep(0.05)


def remove_files(layout: Layout) -> None:
    """Remove the lab's directories, and the directories of all labs when this was the last."""
    shutil.rmtree(layout.run, ignore_errors=True)
    shutil.rmtree(layout.state, ignore_errors=True)
    for top in (layout.run.parent, layout.state.parent):
        if top.is_dir() and not os.listdir(top):
            top.rmdir()
