"""A watch: the objects that match now, then every change of them, without a gap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from manager.control import view_of
from manager.state.driver import Store
from pyswarm.aio import Lagged
from pyswarm.api.v1 import control_pb2


async def watch(
    store: Store, kinds: tuple[type, ...], services: frozenset[str], *, follow: bool
) -> AsyncIterator[control_pb2.WatchEvent]:
    """Events of `kinds`, of `services` only unless that is empty.

    A reader that falls too far behind gets everything once more, so it must take each PUT as the
    whole truth about its object.
    """
    with store.watch() as commits:
        while True:
            view = store.view
            for kind in kinds:
                records: list[Any] = view.list(kind)
                for record in records:
                    if view_of.is_watched(record, services):
                        yield view_of.event(record, view.version)
            yield control_pb2.WatchEvent(action=control_pb2.WatchEvent.SYNCED, version=view.version)
            if not follow:
                return
            try:
                while True:
                    commit = await commits.get()
                    if commit.version <= view.version:
                        continue
                    for change in commit.changes:
                        record = change.new if change.new is not None else change.old
                        if isinstance(record, kinds) and view_of.is_watched(record, services):
                            deleted = change.new is None
                            yield view_of.event(record, commit.version, deleted=deleted)
            except Lagged:
                continue
