"""`pyswarm daemon` with containers and networks that are remembered only: everything else is real.

For `replicas.py`, which starts five of them on addresses of the loopback.
"""

from __future__ import annotations

import sys
from typing import Any

import pyswarm.daemon.main
import pyswarm.daemon.node
from pyswarm.cli.main import main
from pyswarm.testing.fake_overlay import FakeOverlay
from pyswarm.testing.fake_runtime import FakeRuntime


class Runtime(FakeRuntime):
    """The fake runtime, made and closed as the real one is; it keeps no images."""

    inventory = None

    async def connect(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to close."""


def _runtime(*_: Any, **__: Any) -> Runtime:
    return Runtime()


def _overlay(*_: Any, **__: Any) -> FakeOverlay:
    return FakeOverlay()


if __name__ == "__main__":
    pyswarm.daemon.main.ContainerdRuntime = _runtime  # type: ignore[assignment, misc]
    pyswarm.daemon.node.Overlay = _overlay  # type: ignore[assignment, misc]
    sys.exit(main(sys.argv[1:]))
