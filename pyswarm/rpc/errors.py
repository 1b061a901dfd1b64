"""Errors across the wire: a `SwarmError` leaves as a gRPC status and arrives as the same error."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import grpc

from pyswarm.errors import NotLeader, SwarmError, Unavailable, from_code
from pyswarm.rpc.handlers import Around, Behaviour, Context

log = logging.getLogger(__name__)

LEADER_KEY: Final = "pyswarm-leader"
"""Trailing metadata that marks a `NotLeader`; its value is the leader's address, or empty."""

_MESSAGE_LIMIT: Final = 1000
"""Characters of an error that travel: statuses share the 8 KiB of HTTP/2 headers."""


class ErrorMapper(Around):
    """Server side: goes first in the list, so that it also maps the errors of the others."""

    async def run(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        """A call whose errors become statuses."""
        try:
            return await behaviour(request, context)
        except SwarmError as error:
            await context.abort(*_status(error))
        except grpc.aio.BaseError:
            raise  # An abort, or a peer that is gone: grpcio knows what to do.
        except Exception:
            log.exception("%s failed", method)
            await context.abort(
                grpc.StatusCode.INTERNAL,
                f"{method} failed on an internal error: see the log of that manager",
            )


def one_line(message: str) -> str:
    """A message as it is sent: what it repeats of somebody's words moves no cursor and is no line
    of its own."""
    text = " ".join(message[:_MESSAGE_LIMIT].split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _status(error: SwarmError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, NotLeader):
        trailing = ((LEADER_KEY, error.leader_address),)
    return grpc.StatusCode[error.code], one_line(error.message), trailing


def from_rpc(error: grpc.aio.AioRpcError, address: str = "") -> SwarmError:
    """The error that the other side raised, or what became of the connection to `address`."""
    details = error.details() or "no details"
    # The stubs know the tuples that metadata is made of as something that cannot be unpacked.
    trailing = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
    if LEADER_KEY in trailing:
        return NotLeader(details, str(trailing[LEADER_KEY]))
    code = error.code().name
    if code in ("UNAVAILABLE", "CANCELLED"):
        # A call that we cancel ourselves raises asyncio.CancelledError, so this is the other
        # side going away.
        return Unavailable(f"no answer from {address}: {details}" if address else details)
    if code == "DEADLINE_EXCEEDED" and address:
        details = f"{address} did not answer in time"
    return from_code(code, details)


@contextmanager
def swarm_errors(address: str = "") -> Iterator[None]:
    """Around client calls: an `AioRpcError` leaves as a `SwarmError`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error, address) from error
