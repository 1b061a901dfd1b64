"""The text of /etc/hosts, /etc/resolv.conf and /etc/hostname in a container."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, Task

DNS_ADDRESS: Final = "127.0.0.11"
"""Answered by the overlay inside the container's network namespace, as in Docker."""

_LOCAL: Final = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("ff00::0", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)

_SELF: Final = "127.0.1.1"


def _one_line(text: str, where: str) -> str:
    if any(c in text for c in "\n\r\0"):
        raise InvalidArgument(f"{where} holds a line break: {text!r}")
    return text


def hostname(container: ContainerSpec, task: Task) -> str:
    """What the service wants, or the first 12 characters of the task's id."""
    return _one_line(container.hostname, "the hostname") or task.id[:12]


def etc_hosts(name: str, addresses: Iterable[str], extra: Iterable[str]) -> str:
    """`addresses` are the container's own, bare; `extra` lines are "address name [name...]".

    Without a network of the swarm the name leads to the container itself, as in Debian: programs
    look up their own host name.
    """
    lines = [f"{address}\t{names}" for address, names in _LOCAL]
    lines += [_one_line(line, "an extra host").replace(" ", "\t", 1) for line in extra]
    lines += [f"{address}\t{name}" for address in (tuple(addresses) or (_SELF,))]
    return "\n".join(lines) + "\n"


def resolv_conf(container: ContainerSpec) -> str:
    """One name server, ours; `dns_nameservers` are those that it forwards to.

    `ndots:0` as in Docker: a service's bare name must be tried as it is before any search domain.
    """
    lines = [f"nameserver {DNS_ADDRESS}"]
    if container.dns_search:
        lines.append("search " + " ".join(container.dns_search))
    options = list(container.dns_options)
    if not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")
    lines.append("options " + " ".join(options))
    return "\n".join(_one_line(line, "a DNS setting") for line in lines) + "\n"
