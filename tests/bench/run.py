"""`make bench`: measures the figures, prints a table, writes build/bench.json. Needs root.

    tests/bench/run.py --only writes_per_s_64 --quick

A figure that cannot be measured says why, and the others are measured all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import api
import cluster
import consensus
import faults
import handover
import replicas
import scheduling
import starts
import state
from figures import FIGURES, Measured, table

from pyswarm.testing.lab import LabDriver, missing_for_lab

RESULT = Path("build/bench.json")
CONSENSUS = ("writes_per_s_1", "write_ms_p50_1", "writes_per_s_16", "writes_per_s_64")
KILLS = 100
Results = dict[str, Measured]

_begun = time.monotonic()


def progress(line: str) -> None:
    """A line with the time since the start."""
    print(f"[{time.monotonic() - _begun:5.0f} s] {line}", flush=True)


def attempt(names: tuple[str, ...], wanted: set[str], step: Callable[[], Results]) -> Results:
    """Measure what is wanted of `names`; a failure is the reason of each."""
    asked = [name for name in names if name in wanted]
    if not asked:
        return {}
    try:
        found = step()
        return {name: found[name] for name in asked}
    except Exception as error:  # the run goes on, whatever a measurement does
        progress(f"{', '.join(asked)}: {error or type(error).__name__}")
        traceback.print_exc()
        why = " ".join(str(error).split()) or type(error).__name__
        return {name: Measured(None, why[:200]) for name in asked}


def in_lab(driver: LabDriver, wanted: set[str], quick: bool) -> Results:
    """The figures of a whole swarm; memory first, while it is idle."""
    results: Results = {}
    runs = 3 if quick else 5
    image = driver.push_image("bench/sleeper:1", "sleep", "86400")
    results |= attempt(
        ("manager_rss_mb", "agent_rss_mb"),
        wanted,
        lambda: faults.memory(driver, quick, progress),
    )
    results |= attempt(
        ("create_to_running_ms_p50",),
        wanted,
        lambda: asyncio.run(faults.create_to_running(driver, image, 2 * runs, progress)),
    )
    results |= attempt(
        ("node_loss_noticed_ms_p50", "node_loss_recovered_ms_p50"),
        wanted,
        lambda: asyncio.run(faults.node_loss(driver, image, runs, progress)),
    )
    results |= attempt(
        ("leader_loss_ms_p50", "leader_loss_ms_p99"),
        wanted,
        lambda: asyncio.run(faults.leader_loss(driver, 5 if quick else KILLS, progress)),
    )
    results |= attempt(
        ("planned_leader_change_ms_p50",),
        wanted,
        lambda: asyncio.run(handover.planned_leader_change(driver, runs, progress)),
    )
    results |= attempt(
        ("api_writes_per_s_64", "api_floor_per_s_64"),
        wanted,
        lambda: api.api_writes(driver, 4 if quick else 15, progress),
    )
    return results


def of_lab(wanted: set[str], quick: bool) -> Results:
    """Start the lab that the figures need."""
    if why := missing_for_lab():
        raise AssertionError(why)
    with cluster.lab(3, 2, progress) as driver:
        return in_lab(driver, wanted, quick)


def write(results: Results, quick: bool) -> None:
    """Figures of an earlier run that this one did not measure are not kept."""
    figures = {
        figure.name: {
            "value": results[figure.name].value,
            "target": figure.target,
            "verdict": figure.verdict(results[figure.name].value),
            "docker": figure.docker,
            "why": results[figure.name].why,
            "samples": results[figure.name].samples,
        }
        for figure in FIGURES
        if figure.name in results
    }
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()}
    RESULT.parent.mkdir(exist_ok=True)
    document = {"at": time.time(), "quick": quick, "machine": machine, "figures": figures}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    """Read the command line and measure."""
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--profile", type=Path, help="profile the raft leader: FILE.NUMBER")
    arguments = parser.parse_args()
    wanted: set[str] = set(arguments.only)
    clients = sorted({int(name.rpartition("_")[2]) for name in CONSENSUS if name in wanted})
    seconds = 3.0 if arguments.quick else 10.0
    results = attempt(
        CONSENSUS,
        wanted,
        lambda: consensus.measure(clients, seconds, progress, arguments.profile),
    )
    results |= attempt(state.NAMES, wanted, lambda: state.measure(arguments.quick, progress))
    alone = (scheduling, replicas, starts)
    for module in alone:
        results |= attempt(module.NAMES, wanted, partial(module.measure, arguments.quick, progress))
    apart = CONSENSUS + state.NAMES + tuple(name for module in alone for name in module.NAMES)
    others = tuple(name for name in names if name not in apart)
    results |= attempt(others, wanted, lambda: of_lab(wanted, arguments.quick))
    write(results, arguments.quick)
    print(
        f"\n{table(results)}\n\nwritten to {RESULT}; load of this machine {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
