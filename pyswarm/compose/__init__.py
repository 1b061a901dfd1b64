"""Compose files to specifications: parse, interpolate, check, merge, convert, plan."""

from pyswarm.compose.marked import ComposeError, Marked, Place
from pyswarm.compose.plan import Action, Existing, Kind, Plan, Step, plan
from pyswarm.compose.show import to_yaml
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
    "to_yaml",
    "IMAGE_LABEL",
    "NAMESPACE_LABEL",
    "Stack",
]
