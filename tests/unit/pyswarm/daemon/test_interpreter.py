"""What the daemon sets for the whole process; so a process of its own tells of it."""

import json
import subprocess
import sys

TOLD = """
import gc, json, sys
from pyswarm.daemon import interpreter

plain = gc.get_threshold()[0], sys.getswitchinterval()
interpreter.tune()
print(json.dumps([plain, (gc.get_threshold()[0], sys.getswitchinterval())]))
"""


def test_a_daemon_collects_less_often_and_its_loop_waits_less_for_a_thread():
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    plain, tuned = json.loads(done.stdout)
    assert tuned[0] > plain[0]
    assert tuned[1] < plain[1]
