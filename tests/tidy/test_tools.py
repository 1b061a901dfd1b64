"""Lint, format, types and import floors, as pyproject.toml configures them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    ["ruff check .", "ruff format --check .", "mypy", "lint-imports"],
)
def test_the_tool_has_no_complaint(command: str) -> None:
    program, *arguments = command.split()
    path = Path(sys.executable).with_name(program)
    result = subprocess.run(
        [str(path), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"
