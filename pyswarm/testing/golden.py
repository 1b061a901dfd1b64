"""Golden scripts: commands and what they answer, in one text that reads as a story.

    # Prose: a paragraph without a line of dashes is left alone.

    command arguments
    ----
    the expected answer

`REWRITE=1 pytest ...` writes the real answers into the file: then read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

RULE = "\n----\n"


def run(path: Path, answer: Callable[[str], str]) -> None:
    """Give each command to `answer` and compare; AssertionError shows all differences."""
    written, differences = [], []
    for block in path.read_text().rstrip("\n").split("\n\n"):
        head, rule, want = f"{block}\n".partition(RULE)
        if not rule:
            written.append(block)
            continue
        command = "\n".join(line for line in head.splitlines() if not line.startswith("#"))
        want = want.rstrip("\n")
        got = answer(command).rstrip("\n")
        written.append(f"{head}{RULE}{got}")
        if got != want:
            differences.append(f"{path.name}: {command}\n--- want\n{want}\n--- got\n{got}")
    if os.environ.get("REWRITE"):
        path.write_text("\n\n".join(written) + "\n")
    else:
        assert not differences, "\n\n".join(differences)
