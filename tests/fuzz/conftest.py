"""Tests here share `fuzzing` and `targets` with the program `run.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
