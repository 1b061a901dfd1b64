"""How many calls strangers may make: a bucket for each address and one for all together.

A token bucket (as in RFC 2697): it holds `burst` calls and refills at `per_second`. The table of
addresses is bounded; when it is full the longest unused address is forgotten, and the common
bucket still holds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote

ADDRESSES_MOST: Final = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` calls at once, `per_second` in the long run."""

    burst: float
    per_second: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float

    def take(self, rate: Rate, now: float) -> bool:
        self.tokens = min(rate.burst, self.tokens + (now - self.at) * rate.per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class RateLimit:
    """`admit(address, now)`: whether one more call may be served; `now` is monotonic."""

    each: Rate = Rate(20, 2)
    total: Rate = Rate(200, 50)
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    _all: _Bucket | None = None

    def admit(self, address: str, now: float) -> bool:
        """Take one call from the bucket of `address`, then from that of all."""
        bucket = self._buckets.pop(address, None) or _Bucket(self.each.burst, now)
        self._buckets[address] = bucket
        if len(self._buckets) > ADDRESSES_MOST:
            self._buckets.popitem(last=False)
        if not bucket.take(self.each, now):
            return False
        self._all = self._all or _Bucket(self.total.burst, now)
        return self._all.take(self.total, now)


def address_of(peer: str) -> str:
    """The address to count for grpcio's `peer` ("ipv4:10.0.0.1:4711", "ipv6:%5B::1%5D:4711").

    IPv6 hosts own a /64 and could use each of its addresses once, so it counts as one.
    """
    host = unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return peer.partition(":")[0]
    if address.version == 4:
        return host
    return str(ip_network((address, 64), strict=False))
