"""Where the program `pyswarm` begins: until the rest is loaded, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal


def main() -> int:
    """Load the command line and run it; its exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pyswarm.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    return run()
