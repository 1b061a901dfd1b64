"""VXLAN network identifiers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

FIRST: Final = 4097
"""Those below are left to VLAN-like use by hand, as in Docker."""

LAST: Final = (1 << 24) - 1


def next_vni(used: Iterable[int]) -> int | None:
    """The one after the highest used, or else the lowest free one; `None` where none is left.

    Going upwards keeps the number of a removed network out of use for long.
    """
    taken = set(used)
    highest = max(taken, default=FIRST - 1)
    if FIRST <= highest + 1 <= LAST:
        return highest + 1
    return next((vni for vni in range(FIRST, LAST + 1) if vni not in taken), None)
