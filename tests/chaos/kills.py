"""The second part of `make chaos`: random kills of tasks and daemons. Needs root.

    tests/chaos/kills.py --kills 300 --seed 7

The desired state must be reached after each; the exit code is 1 where it is not.
"""

from __future__ import annotations

import argparse
import sys
import time

from pyswarm.testing.kills import Kills
from pyswarm.testing.lab import LabSettings, missing_for_lab, running_lab
from pyswarm.testing.swarm import push_site


def progress(line: str) -> None:
    """A line of what was done."""
    print(line, flush=True)


def main() -> int:
    """Read the command line and kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    if why := missing_for_lab():
        print(why, file=sys.stderr)
        return 1
    print(f"seed {arguments.seed}", flush=True)
    with running_lab(LabSettings(managers=3, workers=2)) as driver:
        kills = Kills(
            driver, push_site(driver), arguments.seed, lambda line: print(line, flush=True)
        )
        try:
            kills.run(arguments.kills)
        except AssertionError as failure:
            print(f"after {dict(kills.done)}: {failure}")
            return 1
    print(f"{sum(kills.done.values())} kills, all mended: {dict(kills.done)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
