"""Reads the kernel's table of TCP sockets (proc(5), /proc/net/tcp): is there something to send?"""

from __future__ import annotations

from typing import Final

_SENDING: Final = frozenset({"04", "09", "0B"})
"""FIN_WAIT1, LAST_ACK, CLOSING: closed by the program, and the peer has not taken everything."""


def is_sending(table: str) -> bool:
    """Whether a connection that its program has closed still has something to send."""
    lines = (line.split(maxsplit=4) for line in table.splitlines()[1:])
    return any(len(words) > 3 and words[3] in _SENDING for words in lines)
