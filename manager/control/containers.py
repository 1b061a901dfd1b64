"""Rules for a container's options, each with a sentence for the user.

What is wrong on every node is refused when the service is stored, not when a task of it fails.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

from manager.control import attached
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    NetworkAttachmentConfig,
    Resources,
    TaskSpec,
    Ulimit,
    logdrivers,
)
from pyswarm.model.kernel import (
    LIMITS,
    OOM_SCORE_MAX,
    PROPAGATIONS,
    capability,
    is_namespaced,
    signal_number,
)
from pyswarm.templates.logs import log_tag

HOSTNAME_CHARS_MAX: Final = 64
BYTES_MAX: Final = (1 << 63) - 1
SWAPPINESS_MAX: Final = 100
SECONDS_MAX: Final = 9.2e9
"""About 292 years, where Go's durations end."""
_HOSTNAME: Final = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]*[a-zA-Z0-9_])?")
_ALIAS: Final = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9_])?")
_BREAKS: Final = re.compile(r"[\n\r\0]")


def container(spec: ContainerSpec) -> None:
    """A container whose placeholders are filled; raises InvalidArgument."""
    _lines(spec)
    _process(spec)
    _names(spec)
    mounts(spec.mounts)
    for text in (*spec.capability_add, *spec.capability_drop):
        _word(capability, text, "invalid capability", "use NET_ADMIN or ALL")
    for limit in spec.ulimits:
        _ulimit(limit)
    for key in spec.sysctls:
        if not is_namespaced(key):
            raise InvalidArgument(
                f"sysctl '{key}' is the host's: a container has no value of its own"
            )


def _word(read: object, text: str, what: str, hint: str) -> None:
    try:
        read(text)  # type: ignore[operator]
    except ValueError:
        raise InvalidArgument(f"{what}: '{text[:80]}', {hint}") from None


def _lines(spec: ContainerSpec) -> None:
    """What stands in a file's line or a program's arguments has no line breaks or NUL."""
    if "\0" in "".join((*spec.env, *spec.command, *spec.args)):
        raise InvalidArgument("environment and command must not contain NUL bytes")
    for line in spec.env:
        if not line.partition("=")[0]:
            raise InvalidArgument(f"invalid environment variable: '{line[:80]}'")
    one_line = (*spec.dns_search, *spec.dns_options, *spec.hosts, *spec.groups, spec.user)
    more = (*spec.sysctls, *spec.sysctls.values(), *spec.labels, spec.workdir)
    for text in (*one_line, *more):
        if _BREAKS.search(text):
            raise InvalidArgument(f"'{text[:80]}' has a line break or NUL byte")
    if "" in spec.labels:
        raise InvalidArgument("a container label needs a key")


def _process(spec: ContainerSpec) -> None:
    if spec.workdir and not spec.workdir.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{spec.workdir}' is invalid, use an absolute path"
        )
    if spec.user and not re.fullmatch(r"[^:\s]+(:[^:\s]+)?", spec.user):
        raise InvalidArgument(f"user '{spec.user[:80]}' is not NAME|UID[:GROUP|GID]")
    for group in spec.groups:
        if not re.fullmatch(r"[^:\s]+", group):
            raise InvalidArgument(f"group '{group[:80]}' is no group's name or id")
    if spec.stop_signal:
        _word(signal_number, spec.stop_signal, "invalid signal", "use SIGTERM or its number")
    seconds(spec.stop_grace_period_seconds, "the stop grace period")
    if abs(spec.oom_score_adj) > OOM_SCORE_MAX:
        raise InvalidArgument(
            f"oom score adjustment {spec.oom_score_adj} is not from -{OOM_SCORE_MAX} to "
            f"{OOM_SCORE_MAX}"
        )


def seconds(value: float, what: str) -> None:
    """A duration that ends."""
    if not math.isfinite(value) or not 0 <= value <= SECONDS_MAX:
        raise InvalidArgument(f"{what} must be a duration and not negative, not {value:g} s")


def _names(spec: ContainerSpec) -> None:
    name = spec.hostname
    if name and (len(name) > HOSTNAME_CHARS_MAX or not _HOSTNAME.fullmatch(name)):
        raise InvalidArgument(
            f"hostname '{name[:80]}' is not valid: at most {HOSTNAME_CHARS_MAX} letters, digits, "
            "'.', '-' and '_'"
        )
    for line in spec.hosts:
        address, *names = line.split() or [""]
        if not names or not _is_address(address):
            raise InvalidArgument(f"host '{line[:80]}' is not of the form ADDRESS NAME")
    for address in spec.dns_nameservers:
        if not _is_address(address):
            raise InvalidArgument(f"DNS server '{address[:80]}' is no IP address")
    for text in (*spec.dns_search, *spec.dns_options):
        if not text or any(char.isspace() for char in text):
            raise InvalidArgument(f"'{text[:80]}' is no word of resolv.conf")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ulimit(limit: Ulimit) -> None:
    if limit.name not in LIMITS:
        known = ", ".join(sorted(LIMITS))
        raise InvalidArgument(f"invalid ulimit type: '{limit.name[:80]}', use one of {known}")
    if min(limit.soft, limit.hard) < -1:
        raise InvalidArgument(f"ulimit {limit.name}: a limit is a whole number, or -1 for none")
    if limit.hard >= 0 and not 0 <= limit.soft <= limit.hard:
        raise InvalidArgument(
            f"ulimit {limit.name}: soft limit must be less than or equal to hard limit: "
            f"{limit.soft} > {limit.hard}"
        )


def mounts(found: Iterable[Mount]) -> None:
    """Mounts of one container."""
    targets = set()
    for mount in found:
        _mount(mount)
        target = mount.target.rstrip("/")
        if target in targets:
            raise InvalidArgument(f"two mounts have the target {mount.target}")
        targets.add(target)


def _mount(mount: Mount) -> None:
    for text in (mount.source, mount.target, mount.propagation):
        if _BREAKS.search(text):
            raise InvalidArgument(f"mount '{text[:80]}' has a line break or NUL byte")
    if not mount.target.startswith("/"):
        raise InvalidArgument(f"mount target '{mount.target}' must be an absolute path")
    if not mount.target.strip("/") or ".." in mount.target.split("/"):
        raise InvalidArgument(f"mount target '{mount.target}' must be a path below /, without ..")
    if mount.type is MountType.BIND and not mount.source.startswith("/"):
        raise InvalidArgument(
            f"invalid bind mount source, must be an absolute path: {mount.source}"
        )
    if mount.type is MountType.VOLUME:
        attached.volume_mount(mount)
    if mount.type is MountType.TMPFS and mount.source:
        raise InvalidArgument(f"the tmpfs at {mount.target} cannot have a source")
    if mount.propagation and mount.propagation not in PROPAGATIONS:
        raise InvalidArgument(
            f"invalid bind propagation '{mount.propagation}', use one of {', '.join(PROPAGATIONS)}"
        )
    if mount.type is not MountType.BIND and (mount.propagation or mount.recursion):
        raise InvalidArgument(f"the mount at {mount.target} is no bind, and has a bind's options")
    if mount.recursion is MountRecursion.READONLY and not mount.read_only:
        raise InvalidArgument(f"the mount at {mount.target} is read-only below and not at its top")
    if mount.tmpfs_size_bytes < 0 or not 0 <= mount.tmpfs_mode <= 0o7777:
        raise InvalidArgument(f"the tmpfs at {mount.target} has no possible size or mode")


def swap(wanted: MemorySwap | None, limits: Resources) -> None:
    """Swap goes with a limit of memory."""
    if wanted is None:
        return
    if wanted.swap_bytes < -1:
        raise InvalidArgument(f"memory swap {wanted.swap_bytes} must be a size, or -1")
    if limits.memory_bytes + wanted.swap_bytes > BYTES_MAX:
        raise InvalidArgument("memory limit and swap together are larger than any machine")
    if wanted.swap_bytes and not limits.memory_bytes:
        raise InvalidArgument("memory swap needs a memory limit: it is what may be used beyond it")
    if not -1 <= wanted.swappiness <= SWAPPINESS_MAX:
        raise InvalidArgument(
            f"memory swappiness {wanted.swappiness} must be from 0 to {SWAPPINESS_MAX}, or -1"
        )


def logging(driver: str, options: Mapping[str, str]) -> None:
    """A log driver with its options."""
    try:
        logdrivers.check(driver, options)
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    log_tag(options.get("tag", ""), "0" * 25, "web.1", "nginx")


def networks(attachments: Iterable[NetworkAttachmentConfig]) -> None:
    """Wishes to be in networks."""
    for attachment in attachments:
        if not attachment.target:
            raise InvalidArgument("network name/id is not specified")
        for alias in attachment.aliases:
            if not _ALIAS.fullmatch(alias):
                raise InvalidArgument(
                    f"network {attachment.target}: alias '{alias[:80]}' is no name in DNS"
                )


def task(spec: TaskSpec, filled: ContainerSpec) -> None:
    """The part of a task that concerns its container, placeholders filled in `filled`."""
    container(filled)
    swap(spec.resources.memory_swap, spec.resources.limits)
    logging(spec.log_driver, spec.log_options)
    networks(spec.networks)
