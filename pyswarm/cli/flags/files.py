"""Secrets and configs that a container sees as files."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import Listed, edited
from pyswarm.cli.pairs import file_reference
from pyswarm.model import ContainerSpec

LISTS = (
    Listed("secret", None, "Specify secrets to expose to the service"),
    Listed("config", None, "Specify configurations to expose to the service"),
)


def edit(args: Namespace, old: ContainerSpec) -> ContainerSpec:
    """The container with its secrets and configs after the flags."""
    return replace(
        old,
        secrets=edited(args, "secret", old.secrets, file_reference, lambda r: r.name),
        configs=edited(args, "config", old.configs, file_reference, lambda r: r.name),
    )
