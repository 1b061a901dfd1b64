"""Rules of what a container is given: files of secrets and configs, and volumes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import FileReference, Mount, PayloadSpec, VolumeSpec
from pyswarm.model.kernel import signal_number
from pyswarm.model.payload import GOLANG
from pyswarm.model.volume import LOCAL, OPTION_NAMES

_VOLUME_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_VOLUME: Final = re.compile(r"(?:[a-zA-Z0-9_.-]|\{\{[^{}]*\}\})+")
"""A volume's name in a mount, where it may have placeholders."""


def signal(text: str) -> None:
    """The name or number of a signal, or nothing."""
    try:
        signal_number(text or "SIGHUP")
    except ValueError:
        raise InvalidArgument(
            f"signal '{text[:80]}' is not known: use a name such as SIGHUP"
        ) from None


def volume(spec: VolumeSpec) -> None:
    """A volume's name, driver and options, in the words of Docker's local driver."""
    if not _VOLUME_NAME.fullmatch(spec.name):
        raise InvalidArgument(
            f'"{spec.name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    volume_options(spec.driver, spec.driver_options)


def volume_options(driver: str, options: Mapping[str, str]) -> None:
    """The driver of a volume, and the options that go together."""
    if driver not in ("", LOCAL):
        raise InvalidArgument(f"volume driver '{driver}' is not known here, use local")
    for name in options:
        if name not in OPTION_NAMES:
            raise InvalidArgument(f'invalid option: "{name}", use type, o and device')
    for name in options:
        for needed in {"device": ("type",), "type": ("device",), "o": ("device", "type")}[name]:
            if not options.get(needed):
                raise InvalidArgument(f'missing required option: "{needed}"')


def files(word: str, references: Iterable[FileReference], root: str) -> set[str]:
    """Files of secrets or configs: no two in one place, and rights that can be given. Their
    places in the container."""
    taken: dict[str, str] = {}
    for reference in references:
        name = reference.name or reference.id
        target = posixpath.normpath(posixpath.join(root, reference.target or name))
        if target in taken:
            raise InvalidArgument(
                f"{word} references '{taken[target]}' and '{name}' have a conflicting target: "
                f"'{reference.target or name}'"
            )
        taken[target] = name
        if not 0 <= reference.mode <= 0o7777:
            raise InvalidArgument(f"{word} {name}: mode must be from 0000 to 7777 (octal)")
        for what, text in (("uid", reference.uid), ("gid", reference.gid)):
            if text and not text.isdecimal():
                raise InvalidArgument(f"{word} {name}: {what} '{text}' is not a number")
        signal(reference.signal)
    return set(taken)


def template(spec: PayloadSpec) -> None:
    """The template driver of a secret or config."""
    if spec.template_driver not in ("", GOLANG):
        raise InvalidArgument(
            f"template driver '{spec.template_driver}' is not known: use {GOLANG}"
        )


def volume_mount(mount: Mount) -> None:
    """A mount of a volume: its name, which may have placeholders, and how it is made."""
    if mount.source and not _VOLUME.fullmatch(mount.source):
        raise InvalidArgument(f"volume name '{mount.source}' is not valid")
    if mount.driver_options and not mount.source:
        raise InvalidArgument("a volume with driver options needs a name: use source=NAME")
    volume_options(mount.driver, mount.driver_options)
