"""What is inside the container: its command, environment, user, rights and limits."""

from __future__ import annotations

import shlex
from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags import files, health
from pyswarm.cli.flags.declared import (
    DURATION,
    Listed,
    Single,
    Switch,
    edited,
    edited_map,
    same,
    with_given,
)
from pyswarm.cli.pairs import mount
from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, Ulimit

SINGLE = (
    Single("entrypoint", None, "Overwrite the default ENTRYPOINT of the image"),
    Single("workdir", None, "Working directory inside the container"),
    Single("user", None, "Username or UID (format: <name|uid>[:<group|gid>])"),
    Single("hostname", None, "Container hostname"),
    Single("stop-signal", None, "Signal to stop the container"),
    Single("stop-grace-period", DURATION, "Time to wait before force killing a container (10s)"),
)
SWITCHES = (
    Switch("tty", "Allocate a pseudo-TTY"),
    Switch("read-only", "Mount the container's root filesystem as read only"),
    Switch("init", "Use an init inside each service container"),
)
LISTS = (
    Listed("env", "-e", "Set environment variables"),
    Listed("container-label", None, "Container labels"),
    Listed("mount", None, "Attach a filesystem mount to the service"),
    Listed("host", None, "Custom host-to-IP mappings (host:ip)"),
    Listed("dns", None, "Custom DNS servers"),
    Listed("dns-search", None, "Custom DNS search domains"),
    Listed("dns-option", None, "DNS options"),
    Listed("cap-add", None, "Add Linux capabilities", edited=False),
    Listed("cap-drop", None, "Drop Linux capabilities", edited=False),
    Listed("sysctl", None, "Sysctl options"),
    Listed("ulimit", None, "Ulimit options"),
    Listed("group", None, "Supplementary user groups for the container"),
)


def edit(args: Namespace, old: ContainerSpec) -> ContainerSpec:
    """The container after the flags."""
    new = with_given(
        old,
        args,
        {
            "workdir": "workdir",
            "user": "user",
            "hostname": "hostname",
            "stop_signal": "stop-signal",
            "stop_grace_period_seconds": "stop-grace-period",
            "tty": "tty",
            "read_only": "read-only",
            "init": "init",
        },
    )
    if args.entrypoint is not None:
        new = replace(new, command=tuple(shlex.split(args.entrypoint)))
    return replace(
        files.edit(args, new),
        env=edited(args, "env", old.env, same, lambda e: e.partition("=")[0]),
        labels=edited_map(args, "container-label", old.labels),
        mounts=edited(args, "mount", old.mounts, mount, lambda m: m.target),
        hosts=edited(args, "host", old.hosts, _host_line, same, _host_line),
        dns_nameservers=edited(args, "dns", old.dns_nameservers, same, same),
        dns_search=edited(args, "dns-search", old.dns_search, same, same),
        dns_options=edited(args, "dns-option", old.dns_options, same, same),
        groups=edited(args, "group", old.groups, same, same),
        capability_add=edited(args, "cap-add", old.capability_add, same, same),
        capability_drop=edited(args, "cap-drop", old.capability_drop, same, same),
        sysctls=edited_map(args, "sysctl", old.sysctls),
        ulimits=edited(args, "ulimit", old.ulimits, _ulimit, lambda u: u.name),
        healthcheck=health.edit(args, old.healthcheck),
    )


def _host_line(text: str) -> str:
    name, colon, address = text.partition(":")
    if not colon or not address:
        raise InvalidArgument(f'bad format for add-host: "{text}", use host:ip')
    return f"{address} {name}"


def _ulimit(text: str) -> Ulimit:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))
    except ValueError as error:
        raise InvalidArgument(f"ulimit '{text}' is not of the form name=soft[:hard]") from error
