"""Compose files to specifications: parse, interpolate, check, merge, convert, plan.

What needs PyYAML (`client`, `show`) is not imported here, so that commands without a compose file
start without it.
"""

from pyswarm.compose.marked import ComposeError, Marked, Place
from pyswarm.compose.plan import Action, Existing, Kind, Plan, Step, plan
from pyswarm.compose.stack import IMAGE_LABEL, NAMESPACE_LABEL, Stack

__all__ = [
    "ComposeError",
    "Marked",
    "Place",
    "Action",
    "Existing",
    "Kind",
    "Plan",
    "Step",
    "plan",
    "IMAGE_LABEL",
    "NAMESPACE_LABEL",
    "Stack",
]
