"""Secrets and configs: named bytes for containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyswarm.model.meta import Meta

SECRET_BYTES_MAX: Final = 500 * 1024
CONFIG_BYTES_MAX: Final = 1000 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSpec:
    """A secret's or config's name, labels and content; `data` never appears in a repr."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Bytes that only the nodes that need them see, and only in memory."""

    id: str = ""
    meta: Meta = Meta()
    spec: PayloadSpec = PayloadSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Bytes for containers that need no protection."""

    id: str = ""
    meta: Meta = Meta()
    spec: PayloadSpec = PayloadSpec()
