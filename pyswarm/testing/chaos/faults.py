"""What can happen to the managers of a lab, each with its end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pyswarm.errors import SwarmError
from pyswarm.lab import host
from pyswarm.testing.lab import LabDriver

MANAGERS = ("m1", "m2", "m3")
SPARE = "w1"
"""A worker that becomes the fourth manager for a while."""

SMALL_DISK = "m3"
"""The manager whose log lies on a small disk that can be filled. The disk is in memory, so this
host's power is never cut: it would forget its votes."""

DISK_MEGABYTES = 64
CLOCK_JUMPS_SECONDS = (-7200, -600, -3, 3, 600, 7200)
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to `hosts`; `begin` and `end` block."""

    name: str
    hosts: tuple[str, ...]
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    on_wires: bool = False
    needs_majority: bool = False
    """Its end is something that the swarm must carry out: other faults end first."""


def library() -> str:
    """The path of libfaketime, or an empty text where it is not installed."""
    return next((str(path) for path in sorted(Path("/").glob(FAKETIME[1:]))), "")


class Faults:
    """The faults of one lab. A clock per host cannot be made of namespaces (those of time hold
    CLOCK_MONOTONIC and CLOCK_BOOTTIME only: time_namespaces(7)), so the daemons' wall clocks are
    moved by libfaketime where it is installed."""

    def __init__(self, driver: LabDriver, dice: Random) -> None:
        self._driver = driver
        self._dice = dice
        self._state = driver.lab.layout.state
        self._library = library()
        self._kinds: dict[str, Callable[[str, str], Fault]] = {
            "kill": lambda leader, other: self._kill("kill", self._either(leader, other)),
            "kill-all": lambda leader, other: self._kill("kill-all", *MANAGERS),
            "crash": self._crash,
            "restart": self._restart,
            "pause": lambda leader, other: self._pause("pause", self._either(leader, other)),
            "pause-all": lambda leader, other: self._pause("pause-all", *MANAGERS),
            "power-cut": self._power_cut,
            "isolate-leader": lambda leader, other: self._isolate("isolate-leader", leader),
            "isolate-follower": lambda leader, other: self._isolate("isolate-follower", other),
            "halves": self._halves,
            "bridge": self._bridge,
            "deaf": lambda leader, other: self._one_way("deaf", self._either(leader, other)),
            "mute": lambda leader, other: self._one_way("mute", self._either(leader, other)),
            "full-disk": self._full_disk,
            "member": self._member,
        }
        if self._library:
            self._kinds["clock"] = self._clock

    @property
    def names(self) -> list[str]:
        """The kinds that this machine can do."""
        return list(self._kinds)

    def make(self, name: str, leader: str) -> Fault:
        """A fault of this kind; `leader` is the manager that leads, where that is known."""
        leader = leader if leader in MANAGERS else self._dice.choice(MANAGERS)
        other = self._dice.choice([name for name in MANAGERS if name != leader])
        return self._kinds[name](leader, other)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Put the small disk and the clocks in place: the managers restart one by one."""
        with ExitStack() as stack:
            for name in MANAGERS:
                if self._library:
                    self._preload(name)
                self._driver.hold_daemon(name, down=True)
                if name == SMALL_DISK:
                    self._mount()
                    stack.callback(self._driver.exec, name, "rm", "-f", f"{self._log()}/filler")
                self._driver.hold_daemon(name, down=False)
            yield

    # ---- the daemon ----

    def _either(self, leader: str, other: str) -> str:
        return leader if self._dice.random() < 0.6 else other

    def _signal(self, name: str, number: int) -> None:
        host.signal_program(self._driver.lab.layout, name, "daemon", number)

    def _kill(self, kind: str, *names: str) -> Fault:
        def begin() -> None:
            for name in names:
                host.hold_program(self._driver.lab.layout, name, "daemon", down=True)
            for name in names:
                self._driver.kill_daemon(name)

        return Fault(kind, names, begin, lambda: self._release(*names))

    def _release(self, *names: str) -> None:
        for name in names:
            host.hold_program(self._driver.lab.layout, name, "daemon", down=False)
        for name in names:
            host.wait_ready(self._driver.lab.layout, name)

    def _crash(self, leader: str, other: str) -> Fault:
        """Killed, and started again at once."""
        name = self._either(leader, other)
        return Fault(
            "crash", (name,), lambda: self._driver.kill_daemon(name), lambda: self._release(name)
        )

    def _restart(self, leader: str, other: str) -> Fault:
        """As systemd does it: the leader hands over."""
        name = self._either(leader, other)
        return Fault("restart", (name,), lambda: self._driver.restart_daemon(name))

    def _pause(self, kind: str, *names: str) -> Fault:
        def begin() -> None:
            for name in names:
                self._signal(name, signal.SIGSTOP)

        def end() -> None:
            for name in names:
                self._signal(name, signal.SIGCONT)

        return Fault(kind, names, begin, end)

    def _power_cut(self, leader: str, other: str) -> Fault:
        name = leader if leader != SMALL_DISK else other
        return Fault(
            "power-cut",
            (name,),
            lambda: self._driver.kill(name),
            lambda: self._driver.start(name),
        )

    # ---- the wires ----

    def _isolate(self, kind: str, name: str) -> Fault:
        return Fault(
            kind,
            (name,),
            lambda: self._driver.partition(name),
            lambda: self._driver.heal(name),
            on_wires=True,
        )

    def _cut(self, kind: str, one: tuple[str, ...], other: tuple[str, ...]) -> Fault:
        def begin() -> None:
            for name in one:
                self._driver.partition(name, *other)

        def end() -> None:
            for name in one:
                self._driver.heal(name)

        return Fault(kind, one + other, begin, end, on_wires=True)

    def _halves(self, leader: str, other: str) -> Fault:
        """The leader and one more on one side; the third, and the spare one, on the other."""
        rest = tuple(name for name in (*MANAGERS, SPARE) if name not in (leader, other))
        return self._cut("halves", (leader, other), rest)

    def _bridge(self, leader: str, other: str) -> Fault:
        """The leader and one follower do not hear each other; the third hears both."""
        return self._cut("bridge", (leader,), (other,))

    def _one_way(self, kind: str, name: str) -> Fault:
        """A host that hears nobody and is heard, or the reverse."""
        hook, field = ("input", "saddr") if kind == "deaf" else ("output", "daddr")
        addresses = ", ".join(
            self._driver.address(each) for each in self._driver.hosts if each != name
        )
        rules = (
            f"add table inet chaos; add chain inet chaos cut {{ type filter hook {hook} priority"
            f" -400; }}; add rule inet chaos cut ip {field} {{ {addresses} }} drop"
        )
        return Fault(
            kind,
            (name,),
            lambda: self._driver.output(name, "nft", rules),
            lambda: self._driver.output(name, "nft", "delete table inet chaos"),
            on_wires=True,
        )

    # ---- the disk ----

    def _log(self) -> str:
        return str(self._state / SMALL_DISK / "pyswarm" / "manager" / "raft")

    def _mount(self) -> None:
        path = self._log()
        steps = (
            f"cp -a {path} {path}.moved",
            f"mount -t tmpfs -o size={DISK_MEGABYTES}m,mode=700 tmpfs {path}",
            f"cp -a {path}.moved/. {path}",
            f"rm -rf {path}.moved",
        )
        self._driver.output(SMALL_DISK, "sh", "-ec", "; ".join(steps))

    def _full_disk(self, leader: str, other: str) -> Fault:
        filler = f"{self._log()}/filler"
        return Fault(
            "full-disk",
            (SMALL_DISK,),
            lambda: self._driver.exec(SMALL_DISK, "sh", "-c", f"cat /dev/zero >{filler}"),
            lambda: self._driver.output(SMALL_DISK, "rm", "-f", filler),
        )

    # ---- the clock ----

    def _preload(self, name: str) -> None:
        """What the host's daemon is started with from now on."""
        clock = self._state / name / "clock"
        clock.write_text("+0\n")
        environment = {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its detection finds this glibc to need one, and then waits on conditions never end.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }
        (self._state / name / "environment-daemon.json").write_text(json.dumps(environment))

    def _clock(self, leader: str, other: str) -> Fault:
        """The wall clock jumps, and back."""
        name = self._either(leader, other)
        clock = self._state / name / "clock"
        jump = self._dice.choice(CLOCK_JUMPS_SECONDS)
        return Fault(
            "clock",
            (name,),
            lambda: clock.write_text(f"{jump:+d}\n"),
            lambda: clock.write_text("+0\n"),
        )

    # ---- the members ----

    def _member(self, leader: str, other: str) -> Fault:
        """One more manager joins, and leaves."""
        return Fault(
            "member",
            (SPARE,),
            lambda: self._change("promote"),
            self._leave,
            needs_majority=True,
        )

    def _change(self, verb: str) -> None:
        """Ask each manager in turn: some are off, or do not answer, while another fault goes on."""
        said = ""
        for name in MANAGERS:
            try:
                result = self._driver.pyswarm("node", verb, SPARE, host=name)
            except SwarmError as error:
                said = error.message
                continue
            if result.returncode == 0:
                return
            said = result.stderr.strip()
        raise SwarmError(f"node {verb} {SPARE} fails: {said}")

    def _leave(self) -> None:
        def gone() -> bool:
            self._change("demote")
            return "not a swarm manager" in self._driver.pyswarm("node", "ls", host=SPARE).stderr

        self._driver.wait_until(gone, deadline_seconds=120, what=f"{SPARE} is a worker again")
