"""The values of the container's flags, each with the sentence for a wrong one."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyswarm.cli.pairs import key_values
from pyswarm.errors import InvalidArgument
from pyswarm.model import Ulimit
from pyswarm.model.kernel import (
    EVERY_CAPABILITY,
    LIMITS,
    OOM_SCORE_MAX,
    capability,
    is_namespaced,
    signal_number,
)

RESET: Final = "RESET"
_DOMAIN: Final = re.compile(r"(?=.{1,253}\.?$)\w(?:[\w-]{0,61}\w)?(?:\.\w(?:[\w-]{0,61}\w)?)*\.?")
_ENV_FILE_BYTES_MAX: Final = 1 << 20


def variable(text: str) -> str:
    """`NAME=value`; `NAME` alone has its value from our own environment, where it is there."""
    name, equals, _ = text.partition("=")
    if not name or "\0" in text:
        raise InvalidArgument(f"invalid environment variable: {text}")
    return text if equals or name not in os.environ else f"{name}={os.environ[name]}"


def env_file(name: str) -> list[str]:
    """The variables of a file, line by line; `#` begins a comment."""
    try:
        with Path(name).open("rb") as file:
            data = file.read(_ENV_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidArgument(f"cannot read {name}: {error.strerror}") from None
    if len(data) > _ENV_FILE_BYTES_MAX:
        raise InvalidArgument(f"env file {name} is larger than {_ENV_FILE_BYTES_MAX} bytes")
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode().lstrip().removesuffix("\r")
        except UnicodeDecodeError:
            raise InvalidArgument(f"env file {name} is not UTF-8 text at line {number}") from None
        if text and not text.startswith("#"):
            found += _file_line(text, f"env file {name}, line {number}")
    return found


def _file_line(text: str, where: str) -> list[str]:
    key, equals, _ = text.partition("=")
    if not key:
        raise InvalidArgument(f"{where}: no variable name on line '{text}'")
    if re.search(r"\s", key.rstrip() if not equals else key):
        raise InvalidArgument(f"{where}: variable '{key}' contains whitespaces")
    made = variable(text.rstrip() if not equals else text)
    # A name without a value here or there is left out, as in Docker.
    return [made] if "=" in made else []


def host(text: str) -> str:
    """`name:address`, as the line "address name" of /etc/hosts."""
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not separator or not name or any(char.isspace() for char in name):
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    address = address.removeprefix("[").removesuffix("]")
    if _address(address) is None:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"')
    return f"{address} {name}"


def without_hosts(lines: Iterable[str], removed: Iterable[str]) -> list[str]:
    """The lines of /etc/hosts without those named by `name:address`, or by `name` alone."""
    kept = list(lines)
    for text in removed:
        name, _, address = text.partition(":")
        kept = [
            line
            for line in kept
            if not (name in line.split()[1:] and address in ("", line.split()[0]))
        ]
    return kept


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def name_server(text: str) -> str:
    """An address of a DNS server."""
    if _address(text) is None:
        raise InvalidArgument(f"IP address is not correctly formatted: {text}")
    return text


def search_domain(text: str) -> str:
    """A domain, or `.` for none."""
    if text != "." and not _DOMAIN.fullmatch(text):
        raise InvalidArgument(f"invalid domain: {text}")
    return text


def dns_option(text: str) -> str:
    """An option of resolv.conf."""
    if not text or any(char.isspace() for char in text):
        raise InvalidArgument(f"invalid DNS option: '{text}'")
    return text


def ulimit(text: str) -> Ulimit:
    """`name=soft[:hard]`; -1 is without limit."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise InvalidArgument(f"invalid ulimit argument: {text}, use name=soft[:hard]")
    if name not in LIMITS:
        raise InvalidArgument(
            f"invalid ulimit type: {name}, use one of {', '.join(sorted(LIMITS))}"
        )
    values = limits.split(":")
    if len(values) > 2:
        raise InvalidArgument(
            f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        )
    if not all(re.fullmatch(r"-1|\d{1,18}", value) for value in values):
        raise InvalidArgument(f"invalid ulimit value: {limits}, use whole numbers, or -1")
    soft, hard = int(values[0]), int(values[-1])
    if hard >= 0 and not 0 <= soft <= hard:
        raise InvalidArgument(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return Ulimit(name=name, soft=soft, hard=hard)


def sysctl(text: str) -> tuple[str, str]:
    """`name=value` of a sysctl that a container can have for itself."""
    key, value = key_values(text)
    if "=" not in text:
        raise InvalidArgument(f"'{text}' is not of the form name=value")
    if not is_namespaced(key):
        raise InvalidArgument(f"sysctl '{key}' is the host's: a container has no value of its own")
    return key, value


def capability_word(text: str) -> str:
    """A capability by its full name, or ALL."""
    try:
        return RESET if text.upper() == RESET else capability(text)
    except ValueError:
        raise InvalidArgument(f"invalid capability: {text}, use NET_ADMIN or ALL") from None


def signal_word(text: str) -> str:
    """A signal's name or number."""
    try:
        signal_number(text)
    except ValueError:
        raise InvalidArgument(f"invalid signal: {text}, use SIGTERM or its number") from None
    return text


def words_of_shell(text: str) -> tuple[str, ...]:
    """A command line, quoted as in a shell."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidArgument(f"{str(error).lower()}: close the quotes") from None


def oom_score(text: str) -> int:
    """From -1000 (never killed first) to 1000."""
    if not re.fullmatch(r"[+-]?\d{1,4}", text) or abs(int(text)) > OOM_SCORE_MAX:
        raise InvalidArgument(f"use a whole number from -{OOM_SCORE_MAX} to {OOM_SCORE_MAX}")
    return int(text)


def capabilities(
    old: tuple[frozenset[str], frozenset[str]], add: Iterable[str], drop: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Added and dropped capabilities after a change of (added, dropped), in Docker's three states.

    One that was dropped and is added is neither afterwards, and the reverse; one that is both
    added and dropped is added. ALL takes the place of every other; RESET empties its list first.
    """
    adds, drops = set(map(capability_word, add)), set(map(capability_word, drop))
    added, dropped = set(old[0]), set(old[1])
    if RESET in adds:
        added.clear()
    if RESET in drops:
        dropped.clear()
    adds.discard(RESET)
    drops = drops - adds - {RESET}
    # ALL first: what is named beside it is an exception from it.
    for every in (True, False):
        for name in drops:
            if (name == EVERY_CAPABILITY) is every:
                _move(name, added, dropped)
        for name in adds:
            if (name == EVERY_CAPABILITY) is every:
                _move(name, dropped, added)
    dropped -= added
    return _ordered(added), _ordered(dropped)


def _move(name: str, source: set[str], target: set[str]) -> None:
    if name == EVERY_CAPABILITY:
        source.clear()
        target.add(name)
    elif name in source:
        source.remove(name)
    else:
        target.add(name)


def _ordered(names: set[str]) -> tuple[str, ...]:
    return (EVERY_CAPABILITY,) if EVERY_CAPABILITY in names else tuple(sorted(names))


def directory(text: str) -> str:
    """An absolute path in the container, or empty for that of the image."""
    if text and not text.startswith("/"):
        raise InvalidArgument(f"the working directory '{text}' is invalid, use an absolute path")
    return text


def user(text: str) -> str:
    """`name|uid[:group|gid]`, or empty for that of the image."""
    if text and not re.fullmatch(r"[^:\s]+(:[^:\s]+)?", text):
        raise InvalidArgument("use NAME or UID, and :GROUP or :GID behind it")
    return text


def group(text: str) -> str:
    """A group's name or id."""
    if not re.fullmatch(r"[^:\s]+", text):
        raise InvalidArgument("use a group's name or id")
    return text


def isolation(text: str) -> str:
    """One of Docker's words, which mean nothing on Linux."""
    if text not in ("default", "process", "hyperv"):
        raise InvalidArgument("use default, process or hyperv")
    return text


def credential_spec(text: str) -> str:
    """Never."""
    raise InvalidArgument("credential specs are for Windows, and these containers are of Linux")
