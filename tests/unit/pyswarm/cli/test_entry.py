"""The first moments of the program."""

import os
import signal
import subprocess
import sys

SLOW = """
import signal, sys, types
from pyswarm.cli import entry

class Slow(types.ModuleType):
    def __getattr__(self, name):
        print("loading", flush=True)
        while True:
            sum(range(1000))

sys.modules["pyswarm.cli.main"] = Slow("pyswarm.cli.main")
entry.main()
"""


def test_ctrl_c_while_the_program_is_loaded_shows_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "loading\n"
        os.kill(program.pid, signal.SIGINT)
        assert program.wait(60) == -signal.SIGINT
        assert program.stderr is not None
        assert program.stderr.read() == ""
