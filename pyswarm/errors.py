"""The error tree: each expected failure knows its gRPC code and whether a retry can help.

An expected failure is a `SwarmError`. Its message is one sentence for the user: what is wrong,
where, and what to do. Everything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class SwarmError(Exception):
    """An expected failure; `code` is the name of a gRPC status code."""

    code: ClassVar[str] = "UNKNOWN"
    temporary: ClassVar[bool] = False

    @property
    def message(self) -> str:
        """The sentence shown to the user."""
        return str(self.args[0]) if self.args else self.__class__.__name__


class InvalidArgument(SwarmError):
    """The request itself is wrong; sending it again cannot help."""

    code = "INVALID_ARGUMENT"


class NotFound(SwarmError):
    """The object does not exist."""

    code = "NOT_FOUND"


class AlreadyExists(SwarmError):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(SwarmError):
    """The request is well formed, but the state does not allow it."""

    code = "FAILED_PRECONDITION"


class SequenceConflict(SwarmError):
    """The object changed since it was read: read it again and repeat."""

    code = "ABORTED"
    temporary = True


class PermissionDenied(SwarmError):
    """The caller's certificate does not allow this call."""

    code = "PERMISSION_DENIED"


class Unauthenticated(SwarmError):
    """The caller showed no certificate or token that counts."""

    code = "UNAUTHENTICATED"


class Unavailable(SwarmError):
    """Nobody answers now; a later try may succeed."""

    code = "UNAVAILABLE"
    temporary = True


class NotLeader(Unavailable):
    """This manager is not the leader; `leader_address` names it where it is known."""

    def __init__(self, message: str = "this manager is not the leader", leader: str = "") -> None:
        super().__init__(message)
        self.leader_address = leader


class ResourceExhausted(SwarmError):
    """A bound was reached: a pool is empty, a queue is full, a message is too large."""

    code = "RESOURCE_EXHAUSTED"
    temporary = True


class DeadlineExceeded(SwarmError):
    """The time given for the call ran out; whether it took effect is not known."""

    code = "DEADLINE_EXCEEDED"
    temporary = True


class DataLoss(SwarmError):
    """Stored data is damaged and cannot be trusted; the message says how to recover."""

    code = "DATA_LOSS"


class Internal(SwarmError):
    """A bug that was caught before it could do harm; the daemon's log has its traceback."""

    code = "INTERNAL"


class Unimplemented(SwarmError):
    """A part that this version does not have; refused rather than ignored."""

    code = "UNIMPLEMENTED"


def _tree(root: type[SwarmError]) -> list[type[SwarmError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def from_code(code: str, message: str) -> SwarmError:
    """The error of the class whose gRPC code is `code`; a `SwarmError` for an unknown one."""
    for kind in _tree(SwarmError):
        if kind.code == code and kind is not NotLeader:
            return kind(message)
    return SwarmError(message)
