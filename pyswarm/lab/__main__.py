"""`python -m pyswarm.lab ...`: the lab without the rest of the command line."""

from __future__ import annotations

import argparse
import sys

from pyswarm.errors import SwarmError
from pyswarm.lab.commands import add_commands, run


def main() -> int:
    """Parse, run, and turn an expected failure into one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="pyswarm lab")
    add_commands(parser)
    try:
        return run(parser.parse_args())
    except SwarmError as failure:
        print(f"pyswarm lab: {failure.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
