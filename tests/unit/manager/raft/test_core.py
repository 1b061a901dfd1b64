"""The core's behaviour as dialogues: see the files in `scripts`, rewritten by REWRITE=1."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyswarm.testing import golden
from pyswarm.testing.raft_bench import Script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    golden.run(path, Script().answer)
