"""What is inside the container: its command, environment, user, rights and limits."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace

from pyswarm.cli.flags import files, health, words
from pyswarm.cli.flags.declared import (
    DURATION,
    Listed,
    Single,
    Switch,
    checked,
    edited,
    edited_map,
    same,
    with_given,
)
from pyswarm.cli.flags.mounts import mount
from pyswarm.cli.pairs import key_values
from pyswarm.model import ContainerSpec, Ulimit

SINGLE = (
    Single("entrypoint", words.words_of_shell, "Overwrite the default ENTRYPOINT of the image"),
    Single("workdir", words.directory, "Working directory inside the container", "-w"),
    Single("user", words.user, "Username or UID (format: <name|uid>[:<group|gid>])", "-u"),
    Single("hostname", None, "Container hostname"),
    Single("stop-signal", words.signal_word, "Signal to stop the container"),
    Single("stop-grace-period", DURATION, "Time to wait before force killing a container (10s)"),
    Single("oom-score-adj", words.oom_score, "Tune host's OOM preferences (-1000 to 1000)"),
    Single("isolation", words.isolation, "Ignored: containers of Linux have one isolation"),
    Single("credential-spec", words.credential_spec, "Refused: it is for Windows"),
)
SWITCHES = (
    Switch("tty", "Allocate a pseudo-TTY", "-t"),
    Switch("read-only", "Mount the container's root filesystem as read only"),
    Switch("init", "Use an init inside each service container"),
)
LISTS = (
    Listed("env", "-e", "Set environment variables", read=words.variable),
    Listed("container-label", None, "Container labels", read=key_values),
    Listed("mount", None, "Attach a filesystem mount to the service", read=mount),
    Listed("host", None, "Custom host-to-IP mappings (host:ip)", read=words.host),
    Listed("dns", None, "Custom DNS servers", read=words.name_server),
    Listed("dns-search", None, "Custom DNS search domains", read=words.search_domain),
    Listed("dns-option", None, "DNS options", read=words.dns_option),
    Listed("cap-add", None, "Add Linux capabilities", edited=False, read=words.capability_word),
    Listed("cap-drop", None, "Drop Linux capabilities", edited=False, read=words.capability_word),
    Listed("sysctl", None, "Sysctl options", read=words.sysctl),
    Listed("ulimit", None, "Ulimit options", read=words.ulimit),
    Listed("group", None, "Supplementary user groups for the container", read=words.group),
)


def add_create_flags(parser: ArgumentParser) -> None:
    """What only `service create` has."""
    parser.add_argument(
        "--env-file",
        action="append",
        default=[],
        type=checked("env-file", words.env_file, keeps=True),
        help="Read in a file of environment variables",
    )


def add_update_flags(parser: ArgumentParser) -> None:
    """What only `service update` has."""
    parser.add_argument(
        "--args", type=checked("args", words.words_of_shell), help="Service command args"
    )


def edit(args: Namespace, old: ContainerSpec) -> ContainerSpec:
    """The container after the flags."""
    new = with_given(
        old,
        args,
        {
            "command": "entrypoint",
            "workdir": "workdir",
            "user": "user",
            "hostname": "hostname",
            "stop_signal": "stop-signal",
            "stop_grace_period_seconds": "stop-grace-period",
            "oom_score_adj": "oom-score-adj",
            "tty": "tty",
            "read_only": "read-only",
            "init": "init",
        },
    )
    added, dropped = words.capabilities(
        (frozenset(old.capability_add), frozenset(old.capability_drop)),
        args.cap_add,
        args.cap_drop,
    )
    return replace(
        files.edit(args, new),
        env=_environment(args, old),
        labels=edited_map(args, "container-label", old.labels),
        mounts=edited(args, "mount", old.mounts, mount, lambda m: m.target),
        hosts=_hosts(args, old),
        dns_nameservers=edited(args, "dns", old.dns_nameservers, same, same),
        dns_search=edited(args, "dns-search", old.dns_search, same, same),
        dns_options=edited(args, "dns-option", old.dns_options, same, same),
        groups=edited(args, "group", old.groups, same, same),
        capability_add=added,
        capability_drop=dropped,
        sysctls=edited_map(args, "sysctl", old.sysctls),
        ulimits=_ulimits(args, old),
        healthcheck=health.edit(args, old.healthcheck),
    )


def _environment(args: Namespace, old: ContainerSpec) -> tuple[str, ...]:
    """Files first, so that a flag wins over them."""
    lines = [line for name in getattr(args, "env_file", ()) for line in words.env_file(name)]
    return edited(args, "env", (*old.env, *lines), words.variable, lambda e: e.partition("=")[0])


def _hosts(args: Namespace, old: ContainerSpec) -> tuple[str, ...]:
    kept = words.without_hosts(old.hosts, getattr(args, "host_rm", ()))
    added = [*getattr(args, "host", ()), *getattr(args, "host_add", ())]
    return tuple(dict.fromkeys([*kept, *map(words.host, added)]))


def _ulimits(args: Namespace, old: ContainerSpec) -> tuple[Ulimit, ...]:
    limits = edited(args, "ulimit", old.ulimits, words.ulimit, lambda u: u.name)
    return tuple(sorted(limits, key=lambda u: u.name))
