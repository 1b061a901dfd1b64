"""The difference between what the kernel holds and what it shall hold, as work in order.

New routes come before the virtual addresses that lead to them, and old ones go after; connections
of what has gone are forgotten last, so that no packet in between can renew them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay import ports, vip
from overlay.desired import Leg, Router
from overlay.fdb import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterPlan:
    """Work on one router, to be performed in the order of the fields."""

    peers_new: tuple[Peer, ...] = ()
    routes_new: tuple[tuple[str, str], ...] = ()
    """(task address, link address of its node); replaces a route that is there."""
    legs_new: tuple[Leg, ...] = ()
    rules: tuple[str, ...] = ()
    """nft commands, one transaction."""
    legs_gone: tuple[Leg, ...] = ()
    routes_gone: tuple[str, ...] = ()
    peers_gone: tuple[Peer, ...] = ()
    forget: tuple[str, ...] = ()
    """Task addresses whose connections end: the task is gone, or its address is another's now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """The host's table: nodes from which VXLAN is taken, and published ports."""

    nodes: frozenset[str] = frozenset()
    published: ports.Published = field(default_factory=dict)


def _largest(state: Router) -> int:
    return max((len(members) for members in state.vips.values()), default=0)


def _addresses(state: Router) -> set[str]:
    return {leg.address for leg in state.legs}


def router(applied: Router, wanted: Router, *, rewrite: bool = False) -> RouterPlan:
    """Work that turns `applied` into `wanted`, which have the same head.

    With `rewrite`, `applied` was read from the kernel: its maps are emptied and filled again in
    one transaction, and its members have no task ids.
    """
    assert applied.head == wanted.head, f"another head needs another router: {wanted.network_id}"
    chains = vip.chains(
        1 if rewrite else vip.chains_for(_largest(applied)) + 1,
        vip.chains_for(_largest(wanted)) + 1,
    )
    if rewrite:
        rules = [*chains, *vip.flush_elements(), *vip.changes({}, wanted.vips)]
        rules += vip.hairpins((), _addresses(wanted))
    else:
        rules = [*chains, *vip.changes(applied.vips, wanted.vips)]
        rules += vip.hairpins(_addresses(applied), _addresses(wanted))
    gone = (
        address
        for address, task_id in applied.members.items()
        if wanted.members.get(address) is None or (task_id and wanted.members[address] != task_id)
    )
    kept_links = {peer.link_address for peer in wanted.peers}
    return RouterPlan(
        peers_new=tuple(sorted(wanted.peers - applied.peers)),
        routes_new=tuple(
            sorted(item for item in wanted.remote.items() if applied.remote.get(item[0]) != item[1])
        ),
        legs_new=_sorted(wanted.legs - applied.legs),
        rules=tuple(rules),
        legs_gone=_sorted(applied.legs - wanted.legs),
        routes_gone=tuple(
            sorted(applied.remote.keys() - wanted.remote.keys() - _addresses(wanted))
        ),
        peers_gone=tuple(
            sorted(p for p in applied.peers - wanted.peers if p.link_address not in kept_links)
        ),
        forget=tuple(sorted(gone)),
    )


def _sorted(legs: frozenset[Leg]) -> tuple[Leg, ...]:
    return tuple(sorted(legs, key=lambda leg: (leg.task_id, leg.device)))


def host(applied: HostState | None, wanted: HostState) -> tuple[str, ...]:
    """nft commands for the host's table, one transaction; None: its content is not known."""
    before = applied or HostState()
    largest = max((len(targets) for targets in wanted.published.values()), default=0)
    known = max((len(targets) for targets in before.published.values()), default=0)
    first = vip.chains_for(known) + 1 if applied else 1
    return (
        *ports.chains(first, vip.chains_for(largest) + 1),
        *(() if applied else ports.flush_elements()),
        *ports.node_changes(before.nodes, wanted.nodes),
        *ports.changes(before.published, wanted.published),
    )
