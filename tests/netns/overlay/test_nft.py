"""nftables on a host with so many tasks that the daemon has more files than select(2) can count."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns

CROWDED = """
import os, resource
from overlay import nft, vip
from pyswarm.errors import Unavailable

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))

def rules():
    nft.replace_table(vip.table(
        subnet="10.1.0.0/24", gateway="10.1.0.1", link_address="10.2.0.1", ingress=False
    ))
    nft.run(vip.chains(1, vip.CHAINS_FIRST + 1))
    nft.run(vip.changes({}, {"10.1.0.9": ("10.1.0.2", "10.1.0.3")}))
    found = nft.backends()
    try:
        nft.run("add rule ip nowhere nothing drop")
    except Unavailable as error:
        refused = error.message
    nft.remove_table()
    assert nft.backends() == {}
    return found, refused

few = rules()
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
many = rules()
assert many[0] == few[0], (many, few)
for found, refused in (few, many):
    print(found, refused.replace("\\n", " "))
"""


def test_rules_are_the_same_with_many_files_open():
    command = ["unshare", "--net", sys.executable, "-c", CROWDED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("{'10.1.0.9': ('10.1.0.2', '10.1.0.3')} nftables refused a change:")
        assert "No such file or directory" in line
