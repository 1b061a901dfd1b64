"""A machine that gets another address while the daemon runs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pyswarm.daemon import machine, moving
from pyswarm.daemon.membership import SwarmMembership
from pyswarm.daemon.settings import Settings

OLD, NEW, OTHER = "10.0.0.1:2377", "10.0.0.9:2377", "10.0.0.8:2377"


def watched(monkeypatch: pytest.MonkeyPatch, *answers: str) -> tuple[bool, str]:
    """Whether the node ended, and what it says, where the machine is reached there in turn."""
    looks = iter(answers)
    monkeypatch.setattr(moving, "LOOK_SECONDS", 0.0)

    async def readvertised(address: str, wanted: str) -> str:
        assert wanted == "eth0"
        found = next(looks, None)
        if found is None:
            await asyncio.Event().wait()
        return str(found)

    monkeypatch.setattr(machine, "readvertised", readvertised)
    monkeypatch.setattr(machine, "has_address", lambda host: False)

    async def work() -> tuple[bool, str]:
        membership = SwarmMembership(
            node_id="n", cluster_id="c", address=OLD, manager=True, interface="eth0"
        )
        node = SimpleNamespace(
            settings=Settings(), membership=membership, problem="", fatal=asyncio.Event()
        )
        watching = asyncio.ensure_future(moving.watch_address(node))
        await asyncio.wait([watching], timeout=0.2)
        watching.cancel()
        return node.fatal.is_set(), node.problem

    return asyncio.run(work())


def test_it_ends_and_starts_again_where_it_is_reached_now(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, problem = watched(monkeypatch, OLD, OLD, NEW, NEW, NEW)
    assert ended
    assert problem.startswith(f"this machine has moved from {OLD} to {NEW}")


def test_an_address_that_comes_and_goes_is_no_move(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, OLD, NEW, NEW, OLD, NEW, NEW, OTHER, OTHER) == (False, "")


def test_what_it_was_told_at_init_is_no_move(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, NEW, NEW, NEW, NEW, NEW) == (False, "")


def test_a_machine_knows_which_addresses_it_has() -> None:
    assert machine.has_address("127.0.0.1")
    assert not machine.has_address("192.0.2.1")
