"""One containerd and one registry for all tests of this directory."""

import pytest

from pyswarm.testing import images
from pyswarm.testing.containerd import (
    Node,
    missing_for_containerd,
    running_containerd,
    wait_until,
)


def pytest_collection_modifyitems(items):
    missing = missing_for_containerd()
    for item in items:
        if "tests/containerd/" in str(item.path):
            item.add_marker(pytest.mark.containerd)
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def session_node():
    with running_containerd() as stage:
        images.push(stage.registry, "busybox:1", images.TestImage())
        yield Node(stage)


@pytest.fixture
def node(session_node):
    """The node, on which the test before has left nothing behind."""
    yield session_node
    stage = session_node.stage
    run = stage.directory / "run"

    def left():
        found = [*(run / "fifo").glob("*"), *(run / "rootfs").glob("*"), *stage.cgroups()]
        return found + [p for p in stage.mounts() if "/io.containerd.runtime.v2" in p]

    # What a shim had that was killed, containerd removes when it comes to it.
    wait_until(lambda: not left(), f"the test left nothing behind: {left()}")
