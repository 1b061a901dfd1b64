"""Points in time as Docker's --since and --until take them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from pyswarm.compose.values import duration_seconds
from pyswarm.errors import InvalidArgument

_UNIX: Final = re.compile(r"(-?\d{1,12})(\.\d{1,9})?")
_FRACTION: Final = re.compile(r"\.(\d{1,9})")


def moment(text: str, now: float) -> float:
    """Seconds since the epoch: a unix time, RFC 3339 in any of its shorter forms (then in the
    local zone), or a duration before `now` such as 10m. Raises InvalidArgument."""
    if _UNIX.fullmatch(text):
        return float(text)
    try:
        return now - duration_seconds(text)
    except ValueError:
        pass
    # Python keeps microseconds only; Docker writes nanoseconds.
    shortened = _FRACTION.sub(lambda found: f".{found.group(1)[:6].ljust(6, '0')}", text)
    try:
        found = datetime.fromisoformat(shortened)
    except ValueError:
        raise InvalidArgument(
            f'failed to parse "{text}" as a time: use a duration such as 10m, a unix time, or '
            "2026-01-02T15:04:05Z"
        ) from None
    return found.timestamp()


def local_text(seconds: float) -> str:
    """RFC 3339 with nine digits in the local zone, as `docker events` begins its lines."""
    when = datetime.fromtimestamp(seconds, UTC).astimezone()
    zone = when.strftime("%z")
    offset = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{when.strftime('%Y-%m-%dT%H:%M:%S')}.{when.microsecond:06d}000{offset}"


def nano_text(seconds: float) -> str:
    """RFC 3339 with nine digits in UTC, as `docker logs --timestamps` writes it."""
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when.strftime('%Y-%m-%dT%H:%M:%S')}.{when.microsecond:06d}000Z"
