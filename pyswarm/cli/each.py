"""Commands on several objects go on after a failure, and fail at the end."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pyswarm.cli.jsonview import inspect_text
from pyswarm.errors import NotFound, SwarmError


async def for_each(
    refs: Iterable[str], act: Callable[[str], Awaitable[Any]], silent: bool = False
) -> int:
    """Print each `ref` for which `act` succeeds, unless `silent`, and each error on stderr; the
    exit code."""
    code = 0
    for ref in refs:
        try:
            await act(ref)
        except SwarmError as error:
            print(f"Error: {error.message}", file=sys.stderr)
            code = 1
        else:
            if not silent:
                print(ref)
    return code


async def inspect_each(
    refs: Iterable[str],
    get: Callable[[str], Awaitable[Any]],
    show: Callable[[list[Any]], str] = inspect_text,
) -> int:
    """Print the records of `refs`, as one JSON array if not otherwise; what is missing goes to
    stderr."""
    records, code = [], 0
    for ref in refs:
        try:
            records.append(await get(ref))
        except SwarmError as error:
            text = error.message
            if isinstance(error, NotFound) and not text.startswith("no such "):
                text = f"no such object: {text}"
            print(f"Error: {text}", file=sys.stderr)
            code = 1
    print(show(records))
    return code
