"""What the daemon sets for the whole process; so a process of its own tells of it."""

import json
import subprocess
import sys

import pytest

TOLD = """
import asyncio, gc, json, sys
from pyswarm.daemon import interpreter

def settings():
    return gc.get_threshold()[0], sys.getswitchinterval()

async def main():
    running = type(asyncio.get_running_loop()).__module__
    other = await asyncio.to_thread(asyncio.new_event_loop)
    other.close()
    return settings(), running, type(other).__module__

print(json.dumps([settings(), *interpreter.run(main())]))
"""


@pytest.fixture(scope="module")
def told():
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_daemon_collects_less_often_and_its_loop_waits_less_for_a_thread(told):
    plain, tuned = told[:2]
    assert tuned[0] > plain[0]
    assert tuned[1] < plain[1]


def test_its_own_loop_alone_is_libuvs(told):
    running, other = told[2:]
    assert running.startswith("uvloop")
    assert other.startswith("asyncio"), "libuv cannot have the netlink sockets of pyroute2"
