"""Form a swarm on fresh hosts, with the commands that a user would type."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from pyswarm.errors import DeadlineExceeded, SwarmError
from pyswarm.lab.layout import Host
from pyswarm.lab.machine import Lab, Progress

READY_SECONDS = 120.0
PORT = 2377


def pyswarm(lab: Lab, host: str, *arguments: str) -> str:
    """The output of a `pyswarm` command inside a host; SwarmError with its words if it fails."""
    result = lab.execute(host, "pyswarm", *arguments)
    if result.returncode != 0:
        words = result.stderr.strip() or result.stdout.strip()
        raise SwarmError(f"pyswarm {' '.join(arguments[:2])} failed on {host}: {words}")
    return result.stdout


def form(lab: Lab, progress: Progress) -> None:
    """Initialise the swarm on the first host, join the others, wait until all are Ready."""
    first, *others = lab.hosts
    pyswarm(lab, first.name, "swarm", "init", "--advertise-addr", first.address)
    progress(f"swarm initialised on {first.name}")
    tokens = {
        manager: pyswarm(
            lab, first.name, "swarm", "join-token", "-q", "manager" if manager else "worker"
        ).strip()
        for manager in {each.manager for each in others}
    }

    def join(each: Host) -> None:
        target = f"{first.address}:{PORT}"
        pyswarm(lab, each.name, "swarm", "join", "--token", tokens[each.manager], target)
        progress(f"{each.name} joined as {'manager' if each.manager else 'worker'}")

    for each in others:  # raft changes its membership one manager at a time
        if each.manager:
            join(each)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(join, [each for each in others if not each.manager]))
    wait_ready(lab, progress)


def ready_nodes(text: str) -> list[str]:
    """The hostnames that `node ls --format json` (a list, or an object a line) shows as Ready."""
    text = text.strip()
    rows = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
    return sorted(row["Hostname"] for row in rows if row["Status"].lower() == "ready")


def wait_ready(lab: Lab, progress: Progress, deadline_seconds: float = READY_SECONDS) -> None:
    """Wait until the first manager sees every host as Ready."""
    wanted = sorted(each.name for each in lab.hosts)
    end = time.monotonic() + deadline_seconds
    seen: list[str] = []
    while seen != wanted:
        if time.monotonic() > end:
            missing = ", ".join(sorted(set(wanted) - set(seen)))
            raise DeadlineExceeded(f"not Ready within {deadline_seconds:.0f} s: {missing}")
        seen = ready_nodes(pyswarm(lab, wanted[0], "node", "ls", "--format", "json"))
        if seen != wanted:
            time.sleep(0.2)
    progress(f"{len(wanted)} of {len(wanted)} nodes are Ready")
