"""Short forms to long ones, so that files merge and convert in one form only."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from pyswarm.compose.marked import ComposeError, Marked, Value

PORTS_MAX: Final = 1000
"""Ports of one service: room for media servers, too few to make the control plane slow."""

_RANGE: Final = r"\d{1,5}(?:-\d{1,5})?"
_PORT: Final = re.compile(
    rf"(?:(?P<host>\[[^\]]*\]|[^:]*):(?=[^:]*:))?(?:(?P<published>{_RANGE})?:)?"
    rf"(?P<target>{_RANGE})(?:/(?P<protocol>tcp|udp|sctp))?"
)
_PROPAGATIONS: Final = ("shared", "slave", "private", "rshared", "rslave", "rprivate")
_ONE_HOST_MODES: Final = ("z", "Z", "cached", "delegated", "consistent")

Rule = Callable[[Marked, list[str]], Marked]
"""The long form of a value; warnings go to the list."""


def canonical(tree: Marked) -> tuple[Marked, list[str]]:
    """The checked file in its long form, and warnings; raises an error with every problem."""
    problems: list[str] = []
    warnings: list[str] = []

    def section(name: str, rules: Mapping[str, Rule]) -> Marked:
        entries: dict[str, Marked] = {}
        for key, entry in tree.at(name).entries.items():
            try:
                entries[key] = _apply(entry, rules, warnings)
            except ComposeError as error:
                problems.extend(error.problems)
        return tree.at(name).put(entries)

    sections: dict[str, Marked] = {
        name: section(name, _SERVICE_RULES if name == "services" else {"labels": _pairs})
        for name in ("services", "networks", "volumes", "secrets", "configs")
        if name in tree.entries
    }
    if problems:
        raise ComposeError(*problems)
    return tree.put({**tree.entries, **sections}), warnings


def _apply(item: Marked, rules: Mapping[str, Rule], warnings: list[str]) -> Marked:
    """The mapping with each ruled entry in its long form; "deploy.labels" is one level deeper."""
    entries = dict(item.entries)
    for key, rule in rules.items():
        outer, _, inner = key.partition(".")
        if outer not in entries:
            continue
        if inner:
            entries[outer] = _apply(entries[outer], {inner: rule}, warnings)
        elif not entries[outer].absent:
            entries[outer] = rule(entries[outer], warnings)
    return item if item.absent else item.put(dict(entries))


def _pairs(item: Marked, _warnings: list[str]) -> Marked:
    """NAME=value items as a mapping; an item without = has the value null."""
    if not isinstance(item.value, list):
        return item
    entries = {}
    for entry in item.items:
        name, equals, value = entry.text.partition("=")
        if not name:
            raise entry.error(f"'{entry.text}' has no name before the =")
        made = Marked(value if equals else None, entry.place, item.child_path(name))
        entries[name] = made
    return item.put(entries)


def _words(item: Marked, _warnings: list[str]) -> Marked:
    """A command line as its words."""
    if isinstance(item.value, list):
        return item
    try:
        words = shlex.split(item.text)
    except ValueError as error:
        raise item.error(f"cannot be split into words: {str(error).lower()}") from error
    return item.put([Marked(word, item.place, item.child_path(i)) for i, word in enumerate(words)])


def _test(item: Marked, _warnings: list[str]) -> Marked:
    """A health check's command line as a call of the shell."""
    if isinstance(item.value, list):
        if item.items and item.items[0].text not in ("CMD", "CMD-SHELL", "NONE"):
            raise item.error(f"must begin with CMD, CMD-SHELL or NONE, not '{item.items[0].text}'")
        return item
    words = ("CMD-SHELL", item.text)
    return item.put([Marked(word, item.place, item.child_path(i)) for i, word in enumerate(words)])


def _list(item: Marked, _warnings: list[str]) -> Marked:
    """One text as a list of one."""
    if isinstance(item.value, list):
        return item
    return item.put([Marked(item.text, item.place, item.child_path(0))])


def _files(item: Marked, _warnings: list[str]) -> Marked:
    files = []
    for entry in item.items if isinstance(item.value, list) else [item]:
        long = entry if entry.entries else entry.put({"path": entry.make("path", entry.text)})
        if not long.at("path").text:
            raise entry.error("path is missing: name the file")
        files.append(long)
    return item.put(files)


def _named(item: Marked, _warnings: list[str]) -> Marked:
    """A list of names as a mapping without values."""
    if not isinstance(item.value, list):
        return item
    entries = {e.text: Marked(None, e.place, item.child_path(e.text)) for e in item.items}
    return item.put(dict(entries))


def _references(item: Marked, _warnings: list[str]) -> Marked:
    references = []
    for entry in item.items:
        long = entry if entry.entries else entry.put({"source": entry.make("source", entry.text)})
        if not long.at("source").text:
            raise entry.error("source is missing: name the secret or config")
        references.append(long)
    return item.put(references)


def _hosts(item: Marked, _warnings: list[str]) -> Marked:
    """Extra hosts as a list of "name=address"."""
    found: list[Marked] = []
    for name, value in item.entries.items():
        found += [_host(value, name, address) for address in value.texts or (value.text,)]
    for entry in item.items:
        name, _, address = entry.text.replace("=", ":", 1).partition(":")
        found.append(_host(entry, name, address))
    return item.put([*found])


def _host(entry: Marked, name: str, address: str) -> Marked:
    address = address.removeprefix("[").removesuffix("]")
    try:
        return entry.put(f"{name}={ipaddress.ip_address(address)}")
    except ValueError as error:
        raise entry.error(
            f"must be a name with an address such as db=10.0.0.5, not '{name}={address}'"
        ) from error


def _ports(item: Marked, warnings: list[str]) -> Marked:
    ports: list[Marked] = []
    for entry in item.items:
        ports.extend(_short_port(entry, warnings) if not entry.entries else _long_port(entry))
        if len(ports) > PORTS_MAX:
            raise entry.error(f"a service may publish at most {PORTS_MAX} ports")
    return item.put(ports)


def _short_port(entry: Marked, warnings: list[str]) -> list[Marked]:
    match = _PORT.fullmatch(entry.text)
    if not match:
        raise entry.error(f"must be a port such as 8080:80 or 8080:80/udp, not '{entry.text}'")
    if match["host"]:
        sentence = f"the address {match['host']} is ignored: the port is published on every address"
        warnings.append(entry.problem(sentence))
    targets = _span(entry, match["target"])
    published = _span(entry, match["published"]) if match["published"] else range(0)
    if len(targets) == 1 and len(published) > 1:
        pairs = [(targets[0], port) for port in published]
    elif published and len(published) != len(targets):
        raise entry.error(f"'{entry.text}' maps {len(published)} ports to {len(targets)}")
    else:
        pairs = list(zip(targets, published or [0] * len(targets), strict=True))
    protocol = match["protocol"] or "tcp"
    return [_port(entry, target, port, protocol, "ingress") for target, port in pairs]


def _long_port(entry: Marked) -> list[Marked]:
    if entry.at("target").absent:
        raise entry.error("target is missing: name the container's port")
    text = entry.at("published").text
    if text and not re.fullmatch(_RANGE, text):
        raise entry.at("published").error(f"must be a port or a range of ports, not '{text}'")
    published = _span(entry.at("published"), text) if text and text != "0" else range(1)
    made = []
    for port in published:
        protocol = entry.at("protocol").text or "tcp"
        mode = entry.at("mode").text or "ingress"
        long = _port(entry, entry.at("target").whole(), port, protocol, mode)
        made.append(long.put(entry.entries | long.entries))
    return made


def _port(entry: Marked, target: int, published: int, protocol: str, mode: str) -> Marked:
    entries = {"target": entry.make("target", target), "protocol": entry.make("protocol", protocol)}
    entries["mode"] = entry.make("mode", mode)
    # Out of the file a published port is text, since it may be a range there; here it is one.
    entries["published"] = entry.make("published", published or None)
    return entry.put({key: value for key, value in entries.items() if not value.absent})


def _span(entry: Marked, text: str) -> range:
    first, _, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535:
        raise entry.error(f"'{text}' is not a port or range of ports from 1 to 65535")
    return range(low, high + 1)


def _volumes(item: Marked, warnings: list[str]) -> Marked:
    mounts = [e if e.entries else _short_volume(e, warnings) for e in item.items]
    for mount in mounts:
        if not mount.at("target").text.startswith("/"):
            shown = mount.at("target").text
            raise mount.error(
                f"the target in the container must be an absolute path, not '{shown}'"
            )
    return item.put([m if "type" in m.entries else _with_type(m) for m in mounts])


def _with_type(mount: Marked) -> Marked:
    return mount.put({**mount.entries, "type": mount.make("type", "volume")})


def _short_volume(entry: Marked, warnings: list[str]) -> Marked:
    """[SOURCE:]TARGET[:OPTION,...]; a source that begins with . / or ~ is a path of the host."""
    fields = entry.text.split(":")
    if len(fields) > 3 or not all(fields):
        raise entry.error(f"must be SOURCE:TARGET or SOURCE:TARGET:ro, not '{entry.text}'")
    source, target = (fields[0], fields[1]) if len(fields) > 1 else ("", fields[0])
    kind = "bind" if source.startswith((".", "/", "~")) else "volume"
    long: dict[str, Value] = {"type": kind, "target": target}
    if source:
        long["source"] = source
    for option in fields[2].split(",") if len(fields) == 3 else ():
        if option in ("ro", "rw"):
            long["read_only"] = option == "ro"
        elif option == "nocopy" and kind == "volume":
            long["volume"] = {"nocopy": entry.make("volume.nocopy", True)}
        elif option in _PROPAGATIONS and kind == "bind":
            long["bind"] = {"propagation": entry.make("bind.propagation", option)}
        elif option in _ONE_HOST_MODES:
            warnings.append(
                entry.problem(f"the option {option} is ignored: it has no meaning here")
            )
        else:
            raise entry.error(f"'{option}' is not an option of a {kind}: use ro, rw or nocopy")
    return entry.put({key: entry.make(key, value) for key, value in long.items()})


def _ulimits(item: Marked, _warnings: list[str]) -> Marked:
    """One number as the soft and the hard limit."""
    return item.put(
        {
            name: limit
            if limit.entries
            else limit.put({k: limit.make(k, limit.value) for k in ("soft", "hard")})
            for name, limit in item.entries.items()
        }
    )


_SERVICE_RULES: Final[Mapping[str, Rule]] = {
    "command": _words,
    "entrypoint": _words,
    "environment": _pairs,
    "env_file": _files,
    "labels": _pairs,
    "deploy.labels": _pairs,
    "healthcheck.test": _test,
    "sysctls": _pairs,
    "networks": _named,
    "secrets": _references,
    "configs": _references,
    "ports": _ports,
    "volumes": _volumes,
    "extra_hosts": _hosts,
    "ulimits": _ulimits,
    "tmpfs": _list,
    "dns": _list,
    "dns_search": _list,
}
