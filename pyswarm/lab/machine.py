"""A whole lab: up, down, and every fault that it can have. The command line calls this."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyswarm.errors import AlreadyExists, DeadlineExceeded, InvalidArgument
from pyswarm.lab import cgroups, host, images, network, process, publish
from pyswarm.lab.layout import HUB, HUB_ADDRESS, RUN_ROOT, STATE_ROOT, Host, Layout, load
from pyswarm.lab.process import Process
from pyswarm.lab.syscalls import in_network

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """A line of `lab ls`: `state` is up, off or partitioned; a program is up, down or `-`."""

    name: str
    address: str
    role: str
    state: str
    containerd: str
    daemon: str
    socket: str


class Lab:
    """A lab that is up, or that `create` brings up."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @classmethod
    def open(cls, name: str = "default") -> Lab:
        """The lab that is up under this name; NotFound otherwise."""
        return cls(load(name))

    @classmethod
    def create(cls, layout: Layout, progress: Progress = lambda line: None) -> Lab:
        """Start hub, registry and hosts, and wait until every host's programs answer.

        What fails is left as it is, for its logs; `down` removes it.
        """
        listeners = publish.listen(layout.publish)
        try:
            _make_directories(layout)
            lab = cls(layout)
            booting = host.Booting(layout, HUB)
            network.prepare_hub(booting.init)
            booting.go()
            progress(f"hub {HUB_ADDRESS}: bridge and registry")
            for each in layout.hosts:
                lab._boot(each.name)
            publish.start(layout, listeners)
        finally:
            for listener in listeners:
                listener.close()
        for each in layout.hosts:
            host.wait_ready(layout, each.name)
            progress(f"host {each.name} {each.address}: up")
        lab.wait_registry()
        return lab

    @property
    def hub(self) -> Process:
        """PID 1 of the hub, which holds the bridge's namespace."""
        return host.running(self.layout, HUB)

    def _boot(self, name: str) -> None:
        booting = host.Booting(self.layout, name, self.layout.host(name))
        network.plug(self.hub, booting.init, self.layout.host(name))
        booting.go()

    def start(self, name: str) -> None:
        """Power a host on and wait for its programs; nothing happens when it is on."""
        self.layout.host(name)
        if host.init_of(self.layout, name) is None:
            host.clean_up(self.layout, name)
            self._boot(name)
        host.wait_ready(self.layout, name)

    def stop(self, name: str) -> None:
        """Power a host off in order."""
        self.layout.host(name)
        host.power_off(self.layout, name)

    def kill(self, name: str) -> None:
        """Cut a host's power: the link first, so that no FIN or RST tells the others."""
        self.layout.host(name)
        host.running(self.layout, name)
        network.unplug(self.hub, name)
        host.power_cut(self.layout, name)

    def partition(self, name: str, others: Sequence[str] = ()) -> None:
        """Cut a host off from the named hosts, or from everything when none is named."""
        for each in (name, *others):
            self.layout.host(each)
        if name in others:
            raise InvalidArgument(f"host {name} cannot be cut off from itself")
        host.running(self.layout, name)
        if not others:
            network.isolate(self.hub, name)
            return
        pairs = {(min(name, other), max(name, other)) for other in others}
        state = self.layout.state
        network.set_cuts(self.hub, state, network.cuts(state) | pairs)

    def heal(self, name: str) -> None:
        """Undo every partition of a host."""
        self.layout.host(name)
        host.running(self.layout, name)
        network.rejoin(self.hub, name)
        pairs = network.cuts(self.layout.state)
        if kept := {pair for pair in pairs if name not in pair}:
            network.set_cuts(self.hub, self.layout.state, kept)
        elif pairs:
            network.set_cuts(self.hub, self.layout.state, set())

    def execute(
        self, name: str, *command: str, timeout_seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside a host, or inside the hub."""
        if name != HUB:
            self.layout.host(name)
        return host.execute(self.layout, name, command, timeout_seconds=timeout_seconds)

    def kill_daemon(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill a host's daemon alone; containers go on, and PID 1 starts it again in 0.5 s."""
        target = host.signal_program(self.layout, name, "daemon", number)
        process.wait_dead(target, host.STOP_SECONDS)

    def restart_daemon(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a host's daemon and wait until the next one answers."""
        self.kill_daemon(name, number)
        host.wait_ready(self.layout, name)

    def hold_daemon(self, name: str, *, down: bool) -> None:
        """End a host's daemon and keep it down, or bring it back and wait until it answers."""
        self.layout.host(name)
        host.hold_program(self.layout, name, "daemon", down=down)
        if not down:
            host.wait_ready(self.layout, name)
        elif host.program_pid(self.layout, name, "daemon"):
            self.kill_daemon(name, signal.SIGTERM)

    def states(self) -> list[HostState]:
        """Every host, as `lab ls` shows it."""
        attached = network.ports(self.hub)
        cut = {name for pair in network.cuts(self.layout.state) for name in pair}
        return [self._state(each.name, attached.get(each.name, False), cut) for each in self.hosts]

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts, managers first."""
        return self.layout.hosts

    def _state(self, name: str, attached: bool, cut: set[str]) -> HostState:
        here = self.layout.host(name)
        on = host.init_of(self.layout, name) is not None
        programs = {
            program: "up" if host.program_pid(self.layout, name, program) else "down"
            for program in ("containerd", "daemon")
        }
        state = "off" if not on else "partitioned" if not attached or name in cut else "up"
        return HostState(
            name=name,
            address=here.address,
            role="manager" if here.manager else "worker",
            state=state,
            containerd=programs["containerd"],
            daemon=programs["daemon"] if self.layout.daemon else "-",
            socket=self.layout.socket(name),
        )

    def wait_registry(self, deadline_seconds: float = 30.0) -> None:
        """Wait until the registry in the hub accepts connections."""
        end = time.monotonic() + deadline_seconds
        path = self.hub.namespace("net")
        while not in_network(path, lambda: publish.accepts(HUB_ADDRESS, 5000)):
            if time.monotonic() > end:
                raise DeadlineExceeded(
                    f"the registry does not answer: {host.tail(self.layout, HUB, 'registry')}"
                )
            time.sleep(0.05)

    def push(self, directory: Path, reference: str) -> str:
        """Push an OCI layout to `registry:5000/REFERENCE`; returns the manifest's digest."""
        push = partial(images.push, directory, reference, address=HUB_ADDRESS, port=5000)
        return in_network(self.hub.namespace("net"), push)

    def down(self) -> list[str]:
        """Remove the lab: processes, cgroups, files; returns what could not be removed."""
        return remove(self.layout)


def _make_directories(layout: Layout) -> None:
    for top in (STATE_ROOT, RUN_ROOT):
        top.mkdir(mode=0o700, exist_ok=True)
    try:
        layout.state.mkdir(mode=0o700)
    except FileExistsError:
        raise AlreadyExists(
            f"lab {layout.name} is there already; remove it with: pyswarm lab down"
            + ("" if layout.name == "default" else f" --name {layout.name}")
        ) from None
    layout.run.mkdir(mode=0o700, exist_ok=True)
    layout.save()


def remove(layout: Layout) -> list[str]:
    """Remove whatever is there of a lab, however far its `up` came; returns what stays."""
    for each in layout.hosts:  # stop their talk first, so that no host sees another one die
        with contextlib.suppress(Exception):
            network.unplug(host.running(layout, HUB), each.name)
    end = time.monotonic() + 20.0
    while (left := cgroups.processes(layout.name)) and time.monotonic() < end:
        process.kill_all(left)
        time.sleep(0.02)
    stay = [f"process {pid}" for pid in sorted(left)]
    stay += [f"cgroup {path}" for path in cgroups.remove(layout.name)]
    host.remove_files(layout)
    return stay
