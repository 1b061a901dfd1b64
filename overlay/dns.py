"""DNS messages as bytes (RFC 1035, EDNS: RFC 6891), as little of them as a name server of one
question needs. Nothing that comes from a container can raise here: it is answered or dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, NamedTuple

SERVER_ADDRESS: Final = "127.0.0.11"
SERVER_PORT: Final = 40053
"""Where the server really listens; port 53 stays free for the container's own programs."""
REDIRECT: Final = "\n".join(
    [
        "table ip pyswarm_dns {",
        "chain output {",
        "type filter hook output priority -300;",
        *(
            f'oifname "lo" ip {end}addr {SERVER_ADDRESS} {proto} {end}port {old}'
            f" {proto} {end}port set {new}"
            for proto in ("udp", "tcp")
            for end, old, new in (("d", 53, SERVER_PORT), ("s", SERVER_PORT, 53))
        ),
        "}",
        "}",
        "",
    ]
)
"""nft text for a container's namespace: port 53 is rewritten in the packets themselves, without
connection tracking. A namespace gets it once, when it is made: to replace a table costs 12 ms."""

TYPE_A: Final = 1
TYPE_PTR: Final = 12
_TYPE_OPT: Final = 41
_TYPE_ANY: Final = 255
_CLASS_IN: Final = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
SIZE_PLAIN: Final = 512
SIZE_OFFERED: Final = 1232
"""What we offer in EDNS: fits into every path's packets."""
SIZE_MAX: Final = 4096
"""The largest datagram that we send, whatever the asker takes; also the largest query."""
SIZE_TCP: Final = 65535

_HEAD: Final = struct.Struct(">HHHHHH")
_ANSWER: Final = struct.Struct(">HHHIH")
_AT_QUESTION: Final = 0xC00C
_RESPONSE, _TRUNCATED, _WANTED, _AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080


class Query(NamedTuple):
    """A question; `name` is in lower case without its last dot, `question` as it came, since an
    asker may mix cases to know the answer by them."""

    id: int
    flags: int
    name: str
    type: int
    question: bytes
    size: int
    """The largest answer that the asker takes in a datagram."""
    edns: bool
    error: int = NOERROR
    """What to answer at once, where it is not `NOERROR`."""

    @property
    def wants_address(self) -> bool:
        """Whether an A record answers it."""
        return self.type in (TYPE_A, _TYPE_ANY)


def _name(data: bytes, place: int) -> tuple[str, int] | None:
    labels: list[str] = []
    while place < len(data):
        length = data[place]
        if length > 63 or place - 12 > 254:  # compressed, or too long: not in a question
            return None
        if length == 0:
            return ".".join(labels).lower(), place + 1
        label = data[place + 1 : place + 1 + length].decode("latin-1")
        labels.append(label.replace(".", "\\.") if "." in label else label)
        place += 1 + length
    return None


def _edns_size(data: bytes, place: int, records: int) -> int:
    """The size in the OPT record after the question, 0 without one."""
    for _ in range(min(records, 8)):
        if place + 11 > len(data) or data[place] != 0:
            return 0
        kind, size, _, length = struct.unpack_from(">HHIH", data, place + 1)
        if kind == _TYPE_OPT:
            return min(max(int(size), SIZE_PLAIN), SIZE_MAX)
        place += 11 + length
    return 0


def parse(data: bytes) -> Query | None:
    """The question in a message; None where it deserves no answer."""
    if len(data) < 12:
        return None
    ident, flags, questions, answers, authorities, more = _HEAD.unpack_from(data)
    if flags & _RESPONSE:
        return None
    if flags & 0x7800:
        return Query(ident, flags, "", 0, b"", SIZE_PLAIN, False, NOTIMP)
    found = _name(data, 12) if questions == 1 and not answers and not authorities else None
    if found is None or found[1] + 4 > len(data):
        return Query(ident, flags, "", 0, b"", SIZE_PLAIN, False, FORMERR)
    name, end = found
    kind, klass = struct.unpack_from(">HH", data, end)
    size = _edns_size(data, end + 4, more)
    return Query(
        ident,
        flags,
        name,
        kind,
        data[12 : end + 4],
        size or SIZE_PLAIN,
        bool(size),
        NOERROR if klass in (_CLASS_IN, 255) else NOTIMP,
    )


def _finish(query: Query, code: int, records: Sequence[bytes], limit: int) -> bytes:
    edns = b"\0" + struct.pack(">HHIH", _TYPE_OPT, SIZE_OFFERED, 0, 0) if query.edns else b""
    room = limit - 12 - len(query.question) - len(edns)
    kept: list[bytes] = []
    for record in records:
        room -= len(record)
        if room < 0:
            break
        kept.append(record)
    flags = _RESPONSE | (query.flags & (0x7800 | _WANTED)) | _AVAILABLE | code
    if len(kept) < len(records):
        flags |= _TRUNCATED
    head = _HEAD.pack(query.id, flags, bool(query.question), len(kept), 0, bool(edns))
    return b"".join((head, query.question, *kept, edns))


def answer_error(query: Query, code: int) -> bytes:
    """An answer without records."""
    return _finish(query, code, (), SIZE_TCP)


def answer_addresses(query: Query, addresses: Sequence[str], ttl_seconds: int, limit: int) -> bytes:
    """A records in the given order; what does not fit into `limit` is left out and TC is set.
    Other types of a name that exists have an empty answer, so that AAAA is not asked outside."""
    wanted = addresses if query.wants_address else ()
    return _finish(query, NOERROR, [_address_record(a, ttl_seconds) for a in wanted], limit)


@lru_cache(maxsize=1 << 16)
def _address_record(address: str, ttl_seconds: int) -> bytes:
    head = _ANSWER.pack(_AT_QUESTION, TYPE_A, _CLASS_IN, ttl_seconds, 4)
    return head + IPv4Address(address).packed


def answer_pointer(query: Query, name: str, ttl_seconds: int, limit: int) -> bytes:
    """One PTR record."""
    labels = [label.encode("latin-1", "replace")[:63] for label in name.split(".") if label]
    target = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    record = _ANSWER.pack(_AT_QUESTION, TYPE_PTR, _CLASS_IN, ttl_seconds, len(target)) + target
    return _finish(query, NOERROR, (record,), limit)


def with_id(data: bytes, ident: int) -> bytes:
    """The message with another id."""
    return struct.pack(">H", ident) + data[2:]


def is_answer(query: Query, data: bytes, ident: int) -> bool:
    """Whether `data` answers `query`, which was sent on under `ident`: anything else that comes
    to the port is not from the server that was asked."""
    if len(data) < 12 + len(query.question):
        return False
    known, flags, questions, *_ = _HEAD.unpack_from(data)
    echoed = data[12 : 12 + len(query.question)]
    return (
        known == ident
        and bool(flags & _RESPONSE)
        and questions == 1
        and echoed.lower() == query.question.lower()
    )


def code(data: bytes) -> int:
    """The result code of an answer of at least 12 bytes."""
    return data[3] & 15


def shortened(query: Query, data: bytes) -> bytes:
    """An answer from outside as one datagram: if it is larger than the asker takes, an empty one
    that sends him to TCP."""
    if len(data) <= query.size:
        return data
    answer = _finish(query, NOERROR, (), query.size)
    return answer[:2] + bytes([answer[2] | _TRUNCATED >> 8]) + answer[3:]


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The first three IPv4 servers of an /etc/resolv.conf; ours is left out, or it would ask
    itself for ever."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver" or words[1] == SERVER_ADDRESS:
            continue
        try:
            found.append(str(IPv4Address(words[1])))
        except ValueError:
            continue  # IPv6 servers are left to the host's own resolver
    return tuple(found[:3])
