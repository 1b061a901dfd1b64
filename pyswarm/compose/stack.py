"""A stack: the specifications that a set of compose files asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import NetworkSpec, PayloadSpec, ServiceSpec

NAMESPACE_LABEL: Final = "com.docker.stack.namespace"
IMAGE_LABEL: Final = "com.docker.stack.image"
STACK_NAME_LENGTH_MAX: Final = 50
"""Leaves a service's own name something of the 63 characters of a DNS name."""

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What is wanted, each tuple sorted by name. The `external_*` are names of objects that must
    be there already and that the stack does not own."""

    name: str = ""
    networks: tuple[NetworkSpec, ...] = ()
    secrets: tuple[PayloadSpec, ...] = ()
    configs: tuple[PayloadSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    external_networks: tuple[str, ...] = ()
    external_secrets: tuple[str, ...] = ()
    external_configs: tuple[str, ...] = ()


def check_name(name: str) -> str:
    """The name, if a stack may have it; raises InvalidArgument."""
    if not _NAME.fullmatch(name) or len(name) > STACK_NAME_LENGTH_MAX:
        raise InvalidArgument(
            f"'{name}' is not a stack's name: use at most {STACK_NAME_LENGTH_MAX} letters, "
            "digits, - and _, a letter or digit first"
        )
    return name


def name_from_folder(folder: str) -> str:
    """A folder's name as a stack's: lower case, without what a name may not hold; or empty."""
    return re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("_-")[:STACK_NAME_LENGTH_MAX]
