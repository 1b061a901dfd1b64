"""Play the seeds of the command line, and say what it took."""

from __future__ import annotations

import argparse
import os
import sys
import time

from pyswarm.testing.plane.world import QUIET, Faults, run_seed


def main() -> None:
    """One seed or a range; `--quiet` leaves the faults out."""
    parser = argparse.ArgumentParser(prog="python -m pyswarm.testing.plane")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int, nargs="?")
    parser.add_argument("--quiet", action="store_true", help="no faults")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the storm lasts")
    parser.add_argument("--trace", action="store_true", help="say what went wrong when")
    options = parser.parse_args()
    faults = QUIET if options.quiet else Faults()
    last = options.first if options.last is None else options.last
    for seed in range(options.first, last + 1):
        begin = time.process_time()
        from dataclasses import replace

        world = run_seed(seed, replace(faults, seconds=options.seconds))
        spent = time.process_time() - begin
        if options.trace:
            print("\n".join(world.trace))
        print(
            f"seed {seed}: {world.timeline.now:.0f} s in {spent:.2f} s of CPU "
            f"({world.timeline.now / spent:.0f}/s), {world.observer.version} entries, "
            f"{len(world.observer.leaders)} terms, {len(world.observer.tasks)} tasks, "
            f"{world.users.done} changes, {world.users.refused} refused {world.users.reasons}, "
            f"{world.timeline.events} events",
            flush=True,
        )


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "pyswarm.testing.plane", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    main()
