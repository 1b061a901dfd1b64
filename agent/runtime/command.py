"""What runs: the service's wishes laid over the image's."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, kernel
from pyswarm.registry.documents import ImageConfig

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def argv(container: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """The service's command replaces the image's entrypoint, and with it the image's command."""
    entrypoint = container.command or image.entrypoint
    arguments = container.args or (() if container.command else image.command)
    found = (*entrypoint, *arguments)
    if not found:
        raise InvalidArgument(
            f"image {container.image} names no command to run, and neither does the service"
        )
    return found


def environment(
    container: ContainerSpec, image: ImageConfig, hostname: str, terminal: bool
) -> tuple[str, ...]:
    """PATH and HOSTNAME, the image's, the service's; a name without "=" removes the variable."""
    values = {"PATH": PATH, "HOSTNAME": hostname}
    if terminal:
        values["TERM"] = "xterm"
    for entry in (*image.env, *container.env):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidArgument(f'"{entry[:80]}" is no variable: write NAME=VALUE')
        if equals:
            values[name] = value
        else:
            values.pop(name, None)
    return tuple(f"{name}={value}" for name, value in values.items())


def working_directory(container: ContainerSpec, image: ImageConfig) -> str:
    """Absolute and normal; relative ones are below /.

    /proc is refused: a working directory there once led out of containers (CVE-2024-21626).
    """
    found = posixpath.normpath(posixpath.join("/", container.workdir or image.workdir or "/"))
    found = "/" + found.lstrip("/")
    if found == "/proc" or found.startswith("/proc/"):
        raise InvalidArgument(f"{found} cannot be the working directory: /proc is the kernel's")
    return found


def stop_signal(container: ContainerSpec, image: ImageConfig) -> str:
    """By name: the service's, the image's, or SIGTERM."""
    name = container.stop_signal or image.stop_signal or "SIGTERM"
    signal_number(name)
    return name


def signal_number(name: str) -> int:
    """`SIGTERM`, `TERM`, `15` and `SIGRTMIN+3` as a number."""
    try:
        return kernel.signal_number(name)
    except ValueError:
        raise InvalidArgument(f'"{name}" is no signal: write SIGTERM, or its number') from None


def with_init(arguments: Sequence[str], target: str) -> tuple[str, ...]:
    """The command under an init that reaps what is left over, and passes signals on."""
    return (target, "--", *arguments)
