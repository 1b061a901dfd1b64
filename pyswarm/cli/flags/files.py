"""Secrets and configs that a container sees as files."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import Listed, edited
from pyswarm.cli.pairs import file_reference
from pyswarm.model import ContainerSpec, FileReference

LISTS = (
    Listed("secret", None, "Specify secrets to expose to the service"),
    Listed("config", None, "Specify configurations to expose to the service"),
)


def edit(args: Namespace, old: ContainerSpec) -> ContainerSpec:
    """The container with its secrets and configs after the flags."""
    return replace(
        old,
        secrets=_references(args, "secret", old.secrets),
        configs=_references(args, "config", old.configs),
    )


def _references(
    args: Namespace, name: str, old: tuple[FileReference, ...]
) -> tuple[FileReference, ...]:
    """Secrets or configs: removed by name, added beside others; one may be shown in two places."""
    gone = set(getattr(args, f"{name}_rm", []))
    kept = [reference for reference in old if reference.name not in gone]
    # The same one in the same place is given anew, as with new rights.
    return edited(args, name, kept, file_reference, lambda r: (r.name, r.target))
