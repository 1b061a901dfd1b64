"""Where a task's secrets and configs appear in its container.

Relative targets of secrets are files in /run/secrets, which is one read-only mount; those of
configs are files in /. An absolute target is a mount of that one file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, FileReference

SECRETS_TARGET: Final = "/run/secrets"


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """One file: `inside` is its path in the task's own directory, `target` that in the container;
    `shared`: it appears through the one mount at /run/secrets."""

    reference: FileReference
    inside: str
    target: str
    shared: bool
    uid: int
    gid: int

    @property
    def id(self) -> str:
        """The id of the record whose content it has."""
        return self.reference.id


def _number(text: str, what: str, reference: FileReference) -> int:
    if text and not text.isdecimal():
        raise InvalidArgument(f"{reference.name}: {what} {text!r} is not a number")
    return int(text or "0")


def _target(reference: FileReference) -> PurePosixPath:
    target = PurePosixPath(reference.target or reference.name)
    if ".." in target.parts or not target.name or "\0" in str(target):
        raise InvalidArgument(f'{reference.name}: "{reference.target}" is no place for a file')
    return target


def place(references: tuple[FileReference, ...], secrets: bool) -> tuple[PlacedFile, ...]:
    """The place of each file; raises InvalidArgument for a target that leads elsewhere."""
    placed: list[PlacedFile] = []
    for number, reference in enumerate(references):
        target = _target(reference)
        root = PurePosixPath(SECRETS_TARGET if secrets else "/")
        full = root / target
        shared = secrets and full.is_relative_to(root) and full != root
        inside = f"shared/{full.relative_to(root)}" if shared else f"single/{number}"
        placed.append(
            PlacedFile(
                reference,
                inside,
                str(full),
                shared,
                _number(reference.uid, "the user", reference),
                _number(reference.gid, "the group", reference),
            )
        )
    return tuple(placed)


def private_place(container: ContainerSpec, private: frozenset[str]) -> list[PlacedFile]:
    """The files of a container that are in memory: its secrets, and configs of these ids."""
    configs = [f for f in place(container.configs, secrets=False) if f.id in private]
    filled = [replace(file, inside=f"config-{file.inside}") for file in configs]
    return [*place(container.secrets, secrets=True), *filled]
