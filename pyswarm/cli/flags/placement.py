"""Where tasks may go."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import Listed, Single, edited, same, whole, with_given
from pyswarm.errors import InvalidArgument
from pyswarm.model import Placement

SINGLE = (
    Single(
        "replicas-max-per-node", whole(), "Maximum number of tasks per node (default 0 = unlimited)"
    ),
)
LISTS = (
    Listed("constraint", None, "Placement constraints"),
    Listed("placement-pref", None, "Placement preference (spread=node.labels.X)"),
)


def edit(args: Namespace, old: Placement) -> Placement:
    """The placement after the flags."""

    def preference(text: str) -> str:
        strategy, _, descriptor = text.partition("=")
        if strategy != "spread" or not descriptor:
            raise InvalidArgument(
                f"placement preference '{text}' is not of the form spread=node.labels.NAME"
            )
        return descriptor

    placement = with_given(old, args, {"max_replicas": "replicas-max-per-node"})
    return replace(
        placement,
        constraints=edited(args, "constraint", old.constraints, same, same),
        spread=edited(args, "placement-pref", old.spread, preference, same, preference),
    )
