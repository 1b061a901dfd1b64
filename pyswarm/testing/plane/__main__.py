"""Play the seeds of the command line, and say what it took."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from pyswarm.testing.plane.faults import PRESETS
from pyswarm.testing.plane.world import run_seed


def main() -> None:
    """One seed or a range."""
    parser = argparse.ArgumentParser(prog="python -m pyswarm.testing.plane")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int, nargs="?")
    parser.add_argument("--faults", choices=sorted(PRESETS), default="usual")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the faults last")
    parser.add_argument("--trace", action="store_true", help="say what went wrong when")
    options = parser.parse_args()
    faults = replace(PRESETS[options.faults], seconds=options.seconds)
    last = options.first if options.last is None else options.last
    for seed in range(options.first, last + 1):
        begin = time.process_time()
        world = run_seed(seed, faults)
        spent = time.process_time() - begin
        if options.trace:
            print("\n".join(world.trace))
        print(
            f"seed {seed}: {world.timeline.now:.0f} s in {spent:.2f} s of CPU "
            f"({world.timeline.now / spent:.0f}/s), {world.observer.version} entries, "
            f"{len(world.observer.leaders)} terms, {len(world.observer.tasks)} tasks, "
            f"{world.users.done} changes, refused {world.users.reasons}, "
            f"digest {world.digest():08x}",
            flush=True,
        )


if __name__ == "__main__":
    main()
