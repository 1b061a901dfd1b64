"""`make chaos`: managers under faults, clients' histories checked for linearizability. Needs root.

    tests/chaos/run.py --operations 100000 --minutes 60 --seed 7

Writes build/chaos.json; after a violation the history and the logs lie in build/chaos, and the
exit code is 1. The seed repeats the order of faults and operations, not what the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from pyswarm.testing.chaos.drill import Drill, Settings, save
from pyswarm.testing.lab import LabSettings, missing_for_lab, running_lab

RESULT = Path("build/chaos.json")
EVIDENCE = Path("build/chaos")

_begun = time.monotonic()


def progress(line: str) -> None:
    """A line with the time since the start."""
    print(f"[{time.monotonic() - _begun:5.0f} s] {line}", flush=True)


def main() -> int:
    """Read the command line and run the drill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000, help="end after so many")
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so long at most")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", nargs="+", default=[], metavar="FAULT")
    arguments = parser.parse_args()
    if why := missing_for_lab():
        print(why, file=sys.stderr)
        return 1
    settings = Settings(
        seed=arguments.seed,
        operations=arguments.operations,
        seconds=arguments.minutes * 60,
        clients=arguments.clients,
        kinds=arguments.only,
    )
    progress(f"seed {settings.seed}")
    with running_lab(LabSettings(managers=3, workers=1)) as driver:
        progress(f"lab {driver.name} is up")
        report = asyncio.run(Drill(driver, settings, progress).run())
        if report.failures:
            save(report, driver, EVIDENCE)
    RESULT.parent.mkdir(exist_ok=True)
    document = report.document()
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    progress(
        f"{document['operations']} operations, {document['acknowledged_writes']} acknowledged "
        f"writes, {document['unknown']} unknown, {sum(report.faults.values())} faults, checked in "
        f"{report.check_seconds:.1f} s: {len(report.failures)} violations"
    )
    for failure in report.failures:
        print(failure)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
