"""Secrets and configs: named bytes for containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.model.meta import Meta

SECRET_BYTES_MAX: Final = 500 * 1024
CONFIG_BYTES_MAX: Final = 1000 * 1024
VERSIONS_KEPT: Final = 2
"""The newest versions stay, used or not; older ones go when nothing refers to them."""
GOLANG: Final = "golang"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSpec:
    """A secret's or config's name, labels and content; `data` never appears in a repr."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)
    template_driver: str = ""
    """`golang`: the node fills the placeholders of the content for each task; empty: as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Bytes that only the nodes that need them see, and only in memory.

    A rotation makes a record of its own with the same name and the next `version`: the newest one
    has the name, and references have the id of the one that they show. `signal` goes to the
    containers in which this version takes the place of an older one.
    """

    id: str = ""
    meta: Meta = Meta()
    spec: PayloadSpec = PayloadSpec()
    version: int = 1
    signal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Bytes for containers that need no protection; versions and `signal` as in `Secret`."""

    id: str = ""
    meta: Meta = Meta()
    spec: PayloadSpec = PayloadSpec()
    version: int = 1
    signal: str = ""
