"""Where a container's output goes, and which options that takes, in Docker's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

DRIVERS: Final = ("json-file", "journald", "none")
DEFAULT_DRIVER: Final = "json-file"
FILES_MAX: Final = 100
_SHARED: Final = frozenset(["tag", "labels", "labels-regex", "env", "env-regex", "mode"])
_FILE: Final = frozenset(["max-size", "max-file"])
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "json-file": _SHARED | _FILE,
    # journald's are kept in files too, so that `service logs` can read them.
    "journald": _SHARED | _FILE,
    "none": frozenset(),
}
_SIZE: Final = re.compile(r"([0-9]{1,12})([bkmg]?)b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def file_bytes(text: str) -> int:
    """Bytes of `max-size` ("10m"), 0 for -1, which is without end; raises ValueError."""
    if text == "-1":
        return 0
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError(f'the log option max-size "{text}" is no size: write 10m')
    return int(found[1]) * _UNITS[found[2].lower()]


def files(text: str) -> int:
    """The number of `max-file`; raises ValueError."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= FILES_MAX):
        raise ValueError(f'the log option max-file "{text}" is no number of 1 to {FILES_MAX}')
    return int(text)


def check(driver: str, options: Mapping[str, str]) -> None:
    """Raises ValueError with a sentence for a driver or option that no node can follow."""
    name = driver or DEFAULT_DRIVER
    if name not in DRIVERS:
        raise ValueError(f"there is no log driver {driver}, use one of {', '.join(DRIVERS)}")
    for option, value in options.items():
        if option not in _OPTIONS[name]:
            known = ", ".join(sorted(_OPTIONS[name])) or "none"
            raise ValueError(f"unknown log opt '{option}' for {name} log driver, it takes {known}")
        _check_value(option, value)


def _check_value(option: str, value: str) -> None:
    if option == "max-size":
        file_bytes(value)
    elif option == "max-file":
        files(value)
    elif option.endswith("-regex"):
        pattern(value)
    elif option == "mode" and value != "blocking":
        raise ValueError(
            f"the log option mode={value} is not available in this version: output waits in a pipe"
            " of 1 MiB, then the container does"
        )


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression of `labels-regex` or `env-regex`; raises ValueError."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise ValueError(f"the log option's regular expression '{text}' cannot be read") from None
