"""The first process of a host: makes its namespaces, mounts its files, minds its programs.

Started as `python -m pyswarm.lab.hostinit SPEC`. It prints the process id of the host's PID 1,
waits for the line `go` on its standard input while the network is plugged in from outside, and
prints `ready`. If whoever started it dies before that, its standard input ends, and so does it.

Like systemd, it starts a program again half a second after its death and leaves everything that
the program had started alone. SIGTERM powers the host off in order, the last program first.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pyswarm.lab import cgroups, syscalls

RELAUNCH_SECONDS = 0.5
RELAUNCH_SECONDS_MAX = 8.0
# A program that dies this often in a row within QUICK_DEATH_SECONDS has a standing reason, and
# starting it at the full pace only fills the log.
QUICK_DEATHS = 3
QUICK_DEATH_SECONDS = 10.0
AFTER_SECONDS_MAX = 30.0
STOP_SECONDS = 20.0
TICK_SECONDS = 0.05
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


@dataclass(slots=True)
class Program:
    """One program of the host, and when it is due."""

    name: str
    argv: list[str]
    after: str = ""  # a path, mostly a socket, that has to exist first
    pid: int = 0
    due: float = 0.0  # time.monotonic()
    started: float = 0.0
    quick_deaths: int = 0


@dataclass(slots=True)
class Init:
    """The loop of PID 1."""

    state: Path  # the host's directory: log/, programs.json, hold-NAME, environment-NAME.json
    programs: list[Program]
    environment: dict[str, str] = field(default_factory=dict)
    born: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Mind the programs until SIGTERM, then power off."""
        while True:
            for program in self.programs:
                if not program.pid and self._is_due(program):
                    self._launch(program)
            received = signal.sigtimedwait(SIGNALS, self._patience())
            self._reap()
            if received and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                self._power_off()
                return

    def _patience(self) -> float:
        return TICK_SECONDS if any(not program.pid for program in self.programs) else 5.0

    def _is_due(self, program: Program) -> bool:
        now = time.monotonic()
        waited_enough = now - self.born > AFTER_SECONDS_MAX
        ready = not program.after or os.path.exists(program.after) or waited_enough
        return now >= program.due and ready and not self._hold(program).exists()

    def _hold(self, program: Program) -> Path:
        return self.state / f"hold-{program.name}"

    def _launch(self, program: Program) -> None:
        log = str(self.state / "log" / f"{program.name}.log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        program.pid = os.posix_spawnp(
            program.argv[0],
            program.argv,
            self._environment(program),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
        )
        program.started = time.monotonic()
        self._publish()

    def _environment(self, program: Program) -> dict[str, str]:
        """Variables of the program alone are read at each start."""
        try:
            text = (self.state / f"environment-{program.name}.json").read_text()
        except FileNotFoundError:
            return self.environment
        own: dict[str, str] = json.loads(text)
        return self.environment | own

    def _publish(self) -> None:
        """Write which process, by its id inside the host, runs each program; 0 for none."""
        text = json.dumps({program.name: program.pid for program in self.programs})
        draft = self.state / "programs.json.new"
        draft.write_text(text)
        draft.rename(self.state / "programs.json")

    def _reap(self) -> None:
        """Collect every dead child; orphans of the whole host end up here too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for program in self.programs:
                if program.pid == pid:
                    self._bury(program, status)

    def _bury(self, program: Program, status: int) -> None:
        now = time.monotonic()
        quick = now - program.started < QUICK_DEATH_SECONDS
        program.quick_deaths = program.quick_deaths + 1 if quick else 0
        excess = min(max(0, program.quick_deaths - QUICK_DEATHS), 10)
        program.due = now + min(RELAUNCH_SECONDS * 2**excess, RELAUNCH_SECONDS_MAX)
        program.pid = 0
        self._publish()
        code = os.waitstatus_to_exitcode(status)
        reason = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        print(f"{program.name} {reason}", file=sys.stderr, flush=True)

    def _power_off(self) -> None:
        for program in reversed(self.programs):
            end = time.monotonic() + STOP_SECONDS
            if program.pid:
                os.kill(program.pid, signal.SIGTERM)
            while program.pid and time.monotonic() < end:
                signal.sigtimedwait([signal.SIGCHLD], TICK_SECONDS)
                self._reap()
        # What is left is containers and their shims. The end of PID 1 kills them all; asking
        # them first lets a database in a container write its last page.
        try:
            os.kill(-1, signal.SIGTERM)
        except ProcessLookupError:
            return
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                signal.sigtimedwait([signal.SIGCHLD], TICK_SECONDS)


def _mount_cgroups(hierarchies: list[cgroups.Hierarchy]) -> None:
    """Show the host only its own cgroups: the namespace was made inside them."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    top = Path("/sys/fs/cgroup")
    if any(hierarchy.only for hierarchy in hierarchies):
        syscalls.mount("cgroup2", str(top), "cgroup2", flags)
        return
    syscalls.mount("tmpfs", str(top), "tmpfs", flags, "mode=755")
    for hierarchy in hierarchies:
        target = top / hierarchy.mountpoint.name
        target.mkdir()
        if not hierarchy.options:
            syscalls.mount("cgroup2", str(target), "cgroup2", flags)
            continue
        data = f"none,{hierarchy.options}" if "name=" in hierarchy.options else hierarchy.options
        syscalls.mount("cgroup", str(target), "cgroup", flags, data)
        for controller in hierarchy.options.split(","):
            link = top / controller
            if "name=" not in controller and not link.exists():
                link.symlink_to(target.name)


def _mount_files(spec: dict[str, str]) -> None:
    """A private /run, /proc, /sys, /dev/shm and name service files over the machine's own root."""
    hierarchies = cgroups.hierarchies()
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("proc", "/proc", "proc", flags | syscalls.MS_NOEXEC)
    syscalls.mount("sysfs", "/sys", "sysfs", flags | syscalls.MS_NOEXEC)
    _mount_cgroups(hierarchies)
    syscalls.mount("tmpfs", "/run", "tmpfs", flags, "mode=755")
    if os.path.isdir("/dev/shm"):
        syscalls.mount("tmpfs", "/dev/shm", "tmpfs", flags, "mode=1777")
    for name in ("hosts", "resolv.conf", "hostname"):
        target = Path("/etc", name)
        if target.is_symlink():  # resolv.conf mostly points into /run, which is empty now
            target = target.resolve()
            target.parent.mkdir(parents=True, exist_ok=True)
        if str(target).startswith("/run/"):
            target.touch()
        if target.exists():
            syscalls.mount(f"{spec['state']}/etc/{name}", str(target), "", syscalls.MS_BIND)


def main(path: str) -> None:
    """Become the host that the JSON file at `path` describes (see `pyswarm.lab.host`)."""
    spec = json.loads(Path(path).read_text())
    os.chdir("/")
    cgroups.enter(spec["lab"], spec["name"])
    syscalls.unshare(syscalls.HOST_NAMESPACES)
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if sys.stdin.readline() != "go\n":
        os._exit(1)
    cgroups.enter_leaf(spec["lab"], spec["name"])
    socket.sethostname(spec["name"])
    _mount_files(spec)
    init = Init(
        state=Path(spec["state"]),
        programs=[Program(**program) for program in spec["programs"]],
        environment=spec["environment"],
    )
    print("ready", flush=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    init.run()


if __name__ == "__main__":
    main(sys.argv[1])
