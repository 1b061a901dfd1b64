"""`--publish`: `8080:80/tcp`, `8000-8010:80-90`, `published=8080,target=80,mode=host`."""

from __future__ import annotations

from typing import Final

from pyswarm.cli.pairs import split_fields
from pyswarm.errors import InvalidArgument
from pyswarm.model import PortConfig, Protocol, PublishMode

PORT_MAX: Final = 65535
RANGE_MAX: Final = 1024


def ports(text: str) -> tuple[PortConfig, ...]:
    """The ports that a flag's value publishes, a range one by one; raises InvalidArgument."""
    if "=" in text:
        known = {"published", "target", "protocol", "mode"}
        fields = {key: values[0] for key, values in split_fields(text, known, "port").items()}
        if not fields.get("target"):
            raise InvalidArgument("missing mandatory field 'target'")
        published, target = fields.get("published", ""), fields["target"]
        protocol, mode = fields.get("protocol", "tcp"), fields.get("mode", "ingress")
    else:
        both, _, protocol = text.partition("/")
        published, _, target = both.rpartition(":")
        address, colon, host_port = published.rpartition(":")
        if colon:
            raise InvalidArgument(
                f"the address '{address}' cannot be kept: the port is published on every address "
                f"of a node, write {host_port}:{target}"
            )
        protocol, mode = protocol or "tcp", "ingress"
    if protocol.upper() not in Protocol.__members__:
        raise InvalidArgument(f"invalid protocol value '{protocol}', use tcp, udp or sctp")
    if mode.upper() not in PublishMode.__members__:
        raise InvalidArgument(
            f"invalid publish mode value ({mode}): must be either 'ingress' or 'host'"
        )
    return tuple(
        PortConfig(
            protocol=Protocol[protocol.upper()],
            target_port=inside,
            published_port=outside,
            publish_mode=PublishMode[mode.upper()],
        )
        for outside, inside in _pairs(published, target)
    )


def _pairs(published: str, target: str) -> list[tuple[int, int]]:
    inside = _range(target, "target")
    if not published:
        return [(0, number) for number in inside]
    outside = _range(published, "published")
    if len(outside) != len(inside):
        raise InvalidArgument(f"invalid ranges: {published} and {target} are not of one length")
    return list(zip(outside, inside, strict=True))


def _range(text: str, what: str) -> range:
    first, dash, last = text.partition("-")
    begin = _number(first, what)
    end = _number(last, what) if dash else begin
    if not begin <= end < begin + RANGE_MAX:
        raise InvalidArgument(f"invalid {what} port range {text}: at most {RANGE_MAX} ports")
    return range(begin, end + 1)


def _number(text: str, what: str) -> int:
    # A published port of 0 asks the swarm for one.
    least = 0 if what == "published" else 1
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= PORT_MAX:
        raise InvalidArgument(f"invalid {what} port ({text}): value must be from 1 to {PORT_MAX}")
    return int(text)
