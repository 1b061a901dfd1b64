"""Fuzz for longer: `python tests/fuzz/run.py --minutes 30 [--seed N] [NAME ...]`.

Every target gets its share of the time, in a process of its own. A failing input is kept in
tests/fuzz/corpus, where the tests find it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys

from fuzzing import Broken, run
from targets import BY_NAME


def main() -> int:
    """Run the targets one after the other."""
    parser = argparse.ArgumentParser(description="Fuzz what reads bytes of strangers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BY_NAME))
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in BY_NAME]:
        parser.error(f"no target is called {unknown[0]}")
    names = args.names or list(BY_NAME)
    seconds = args.minutes * 60 / len(names)
    if len(names) == 1:
        return fuzz(names[0], seconds, args.seed)
    failed = []
    for name in names:
        command = [
            sys.executable,
            __file__,
            "--minutes",
            f"{seconds / 60}",
            "--seed",
            f"{args.seed}",
        ]
        if subprocess.run([*command, name], check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(names)} targets, no failure")
    return 1 if failed else 0


def fuzz(name: str, seconds: float, seed: int) -> int:
    """One target; the exit code."""
    logging.disable()
    try:
        count = run(BY_NAME[name], seconds, seed)
    except Broken as error:
        print(f"{error}: {'; '.join(error.__notes__)}", flush=True)
        return 1
    print(f"{name}: {count} inputs of seed {seed}, no failure", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
