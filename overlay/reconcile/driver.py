"""Observe, plan, perform: one pass over all networks of the node; for the worker thread only.

The model of what was applied saves reading the kernel. A network whose change failed has no model
any more, and the next pass reads what its router really holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from overlay import plan, zone
from overlay.desired import (
    LOCAL_NETWORK,
    Head,
    Leg,
    Router,
    Wish,
    head,
    local_set,
    own_index,
    router,
)
from overlay.plan import HostState
from overlay.ports import PublishedPort, Target, host_ports, ingress_ports
from overlay.runtime import Kernel
from overlay.zone import Zone
from pyswarm.errors import SwarmError, Unavailable
from pyswarm.model import EndpointSet

HOST: Final = "host"
"""The host's own table among the networks that failed; no network's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one pass came to: `failed` networks keep an unknown state until the next pass, `taken`
    ports are held by another program."""

    zones: Mapping[str, Zone]
    failed: Mapping[str, SwarmError] = field(default_factory=dict)
    taken: Mapping[PublishedPort, str] = field(default_factory=dict)


_Inputs = tuple[EndpointSet, frozenset[str]]


class Reconciler:
    """Holds the model of what is applied; `remember` is called before a router is made."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        node_id: str,
        underlay: str,
        heads: dict[str, Head],
        remember: Callable[[], None],
    ) -> None:
        self._kernel = kernel
        self._node_id = node_id
        self._underlay = underlay
        self._remember = remember
        self.heads = heads
        """How the routers that are here were made."""
        self.local_subnet = ""
        self.underlay_mtu_bytes = 1500
        self._index = 0
        self._applied: dict[str, Router] = {}
        self._host: HostState | None = None
        self._zones: dict[str, tuple[_Inputs, Zone]] = {}

    def know_host_empty(self) -> None:
        """The host's table was just made: nothing of before has to be kept."""
        self._kernel.change_host(plan.host(None, HostState()))
        self._host = HostState()

    def knows_node(self, sets: Mapping[str, EndpointSet]) -> bool:
        """Whether the node's number is known, from which its link address follows."""
        return bool(self._index or own_index(self._node_id, sets.values()))

    def run(self, wish: Wish) -> Outcome:
        """Bring everything to `wish`; a network that fails does not stop the others."""
        self._index = own_index(self._node_id, wish.sets.values()) or self._index
        sets = dict(wish.sets)
        if self.local_subnet:
            sets[LOCAL_NETWORK] = local_set(self.local_subnet)
        here = self._kernel.containers()
        legs: dict[str, list[Leg]] = {}
        for task_id in sorted(here & wish.attached.keys()):
            for leg in wish.attached[task_id].legs:
                legs.setdefault(leg.network_id, []).append(leg)
        failed: dict[str, SwarmError] = {}

        def attempt(network_id: str, work: Callable[[], None]) -> None:
            try:
                work()
            except SwarmError as error:
                failed[network_id] = error
            except OSError as error:
                failed[network_id] = Unavailable(f"network {network_id}: {error}")

        for network_id in sorted(self._kernel.routers() - sets.keys() - legs.keys()):
            if wish.complete:
                attempt(network_id, lambda network_id=network_id: self._remove(network_id))  # type: ignore[misc]
        for network_id in sorted(sets):
            wanted = self._wanted(sets[network_id], legs.get(network_id, []), wish.dead)
            if wanted is not None:
                attempt(network_id, lambda wanted=wanted: self._bring(wanted))  # type: ignore[misc]
        taken = self._bring_host(wish, attempt)
        return Outcome(zones=self._zones_of(sets, wish.dead), failed=failed, taken=taken)

    # ---- routers ----

    def _wanted(
        self, endpoints: EndpointSet, legs: list[Leg], dead: frozenset[str]
    ) -> Router | None:
        if not endpoints.subnet or (endpoints.vni and not self._index):
            return None
        local = endpoints.network_id == LOCAL_NETWORK
        if local and not legs and LOCAL_NETWORK not in self._kernel.routers():
            return None
        made_with = head(endpoints, self._index, self._underlay, self.underlay_mtu_bytes)
        return router(endpoints, made_with, self._node_id, legs, dead)

    def _bring(self, wanted: Router) -> None:
        network_id = wanted.network_id
        applied = self._applied.get(network_id)
        rewrite = False
        if applied is not None and applied.head != wanted.head:
            applied = None
            self.heads.pop(network_id, None)
        if applied is None and network_id in self._kernel.routers():
            if self.heads.get(network_id) == wanted.head:
                applied = self._kernel.observe(network_id, wanted.head, wanted.legs)
                rewrite = True
            else:
                self._kernel.remove_router(network_id)
        if applied is None:
            self.heads.pop(network_id, None)
            self._remember()
            self._kernel.make_router(network_id, wanted.head)
            self.heads[network_id] = wanted.head
            self._remember()
            applied = Router(network_id=network_id, head=wanted.head)
        if applied == wanted and not rewrite:
            self._applied[network_id] = wanted
            return
        self._applied.pop(network_id, None)
        self._kernel.change_router(wanted, plan.router(applied, wanted, rewrite=rewrite))
        self._applied[network_id] = wanted

    def _remove(self, network_id: str) -> None:
        self._applied.pop(network_id, None)
        self._kernel.remove_router(network_id)
        if self.heads.pop(network_id, None):
            self._remember()

    def remove_all(self) -> None:
        """Remove every router."""
        for network_id in sorted(self._kernel.routers()):
            self._remove(network_id)

    # ---- the host ----

    def _bring_host(
        self, wish: Wish, attempt: Callable[[str, Callable[[], None]], None]
    ) -> dict[PublishedPort, str]:
        if self._host is None and not wish.complete:
            return {}  # an adopted table keeps its ports until the managers were heard
        published, taken = self._published(wish)
        wanted = HostState(
            nodes=frozenset(
                node.address
                for endpoints in wish.sets.values()
                for node in endpoints.nodes
                if node.address and node.node_id != self._node_id
            ),
            published=published,
        )
        if wanted != self._host:
            before, self._host = self._host, None

            def change() -> None:
                self._kernel.change_host(plan.host(before, wanted))
                self._host = wanted

            attempt(HOST, change)
        return taken

    def _published(
        self, wish: Wish
    ) -> tuple[dict[PublishedPort, tuple[Target, ...]], dict[PublishedPort, str]]:
        """The ports that could be bound with their targets, and a sentence for each other one."""
        shared = ingress_ports(wish.sets.values(), wish.dead)
        own = host_ports(wish.attached.values(), wish.dead | wish.closed)
        self._kernel.release([*shared, *own])
        published: dict[PublishedPort, tuple[Target, ...]] = {}
        taken: dict[PublishedPort, str] = {}
        for port, targets in sorted({**shared, **own}.items()):
            if not self._kernel.reserve(port):
                taken[port] = (
                    f"port {port} is taken by another program on this node: stop it or publish"
                    " another port"
                )
            else:
                published[port] = targets
            if port in shared and port in own:
                taken[port] = f"port {port} is published twice on this node: a task here has it"
        return published, taken

    # ---- names ----

    def _zones_of(self, sets: Mapping[str, EndpointSet], dead: frozenset[str]) -> dict[str, Zone]:
        kept = {}
        for network_id, endpoints in sets.items():
            inputs = (endpoints, dead)
            known = self._zones.get(network_id)
            if known is None or known[0] != inputs:
                known = (inputs, zone.build(endpoints, dead))
            kept[network_id] = known
        self._zones = kept
        return {network_id: built for network_id, (_, built) in kept.items()}
