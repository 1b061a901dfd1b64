"""Random kills of tasks and daemons; after each the desired state must be reached again.

The services are a replicated and a global one, so that both planners have to mend something. A seed
repeats the choice of kills, not what the machine makes of them.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable

from pyswarm.testing.lab import LabDriver
from pyswarm.testing.swarm import containers, nodes, ok, running

REPLICAS = 6
DEADLINE_SECONDS = 180.0
"""A slot that was hit often waits a minute before it is tried again; a loaded machine is slow."""


class Kills:
    """A swarm with services of its own on a lab, and what is done to it."""

    def __init__(
        self, lab: LabDriver, image: str, seed: int, progress: Callable[[str], None]
    ) -> None:
        self._lab = lab
        self._random = random.Random(seed)
        self._progress = progress
        self.done: Counter[str] = Counter()
        common = ("--restart-delay", "200ms", "--no-resolve-image", "--detach")
        ok(lab, "service", "create", *common, "--name", "many", "--replicas", str(REPLICAS), image)
        ok(lab, "service", "create", *common, "--name", "each", "--mode", "global", image)
        self.settle("the beginning")

    def run(self, count: int) -> None:
        """So many kills, one after the other has been mended."""
        for number in range(1, count + 1):
            what = self._random.choice((self._kill_task, self._kill_tasks, self._kill_daemon))()
            seconds = self.settle(what)
            self._progress(f"{number} of {count}: {what}: mended in {seconds:.1f} s")

    def settle(self, what: str) -> float:
        """Wait until all that shall run does, in as many containers, and nothing else; seconds."""
        return self._lab.wait_until(
            self._is_settled,
            deadline_seconds=DEADLINE_SECONDS,
            what=f"the desired state after {what}",
        )

    def _is_settled(self) -> bool:
        hosts = self._lab.hosts
        ready = [row["Status"] for row in nodes(self._lab).values()] == ["Ready"] * len(hosts)
        many, each = running(self._lab, "many"), running(self._lab, "each")
        wanted = Counter([*many.values(), *each.values()])
        return (
            ready
            and len(many) == REPLICAS
            and sorted(each.values()) == sorted(hosts)
            and all(len(containers(self._lab, host)) == wanted[host] for host in hosts)
        )

    def _kill_task(self) -> str:
        host = self._random.choice(self._lab.hosts)
        pid, _ = self._random.choice(sorted(containers(self._lab, host).values()))
        self._lab.output(host, "kill", "-9", pid)
        self.done["task"] += 1
        return f"a task on {host}"

    def _kill_tasks(self) -> str:
        host = self._random.choice(self._lab.hosts)
        pids = [pid for pid, _ in containers(self._lab, host).values()]
        self._lab.output(host, "kill", "-9", *pids)
        self.done["all tasks of a host"] += 1
        return f"all tasks on {host}"

    def _kill_daemon(self) -> str:
        host = self._random.choice(self._lab.hosts)
        self._lab.restart_daemon(host, signal.SIGKILL)
        self.done["daemon"] += 1
        return f"the daemon on {host}"
