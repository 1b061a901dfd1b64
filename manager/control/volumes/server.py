"""Calls about volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc.aio

from manager.control import attached, volume_use
from manager.control.calls.server import Calls
from manager.control.filters import filters_of, has_labels
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, volumes_pb2, volumes_pb2_grpc
from pyswarm.errors import FailedPrecondition
from pyswarm.model import Meta, Node, Volume, VolumeSpec
from pyswarm.wire import from_message, to_message


class VolumeCalls(Calls, volumes_pb2_grpc.VolumesServicer):
    """Volumes: list, create, remove, prune, release."""

    async def ListVolumes(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.VolumeList:
        """All volumes that match, with who uses them."""
        wanted, view = filters_of(request), self._store.view
        users = volume_use.users(view)
        return volumes_pb2.VolumeList(
            volumes=[
                _in_use(v, users.get(v.spec.name)) for v in view.list(Volume) if wanted.volume(v)
            ]
        )

    async def GetVolume(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.VolumeInUse:
        """One volume by name or id."""
        view = self._store.view
        volume = view.resolve(Volume, request.ref)
        return _in_use(volume, volume_use.users(view).get(volume.spec.name))

    async def CreateVolume(
        self, request: volumes_pb2.CreateVolumeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A volume that its nodes make when a task needs it; one that is there already stays."""
        spec = from_message(VolumeSpec, request.spec)
        spec = replace(spec, driver=spec.driver or "local")
        attached.volume(spec)
        new_id = self._context.new_id()

        def change(tx: Transaction) -> str:
            old = tx.view.by_name(Volume, spec.name)
            if old is not None:
                volume_use.require_same(old, spec)
                return old.id
            now = self._now()
            tx.put(Volume(id=new_id, meta=Meta(created_at=now, updated_at=now), spec=spec))
            return new_id

        return control_pb2.Created(id=await self._store.update(change, confirm=True))

    async def RemoveVolume(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Have its nodes remove it; the record goes with the last of them."""

        def change(tx: Transaction) -> None:
            volume = tx.view.resolve(Volume, request.ref)
            volume_use.require_unused(volume, volume_use.users(tx.view).get(volume.spec.name))
            if not volume.pending_delete:
                tx.put(replace(volume, pending_delete=True, freed_bytes=0))

        await self._store.update(change, confirm=True)
        return control_pb2.Empty()

    async def PruneVolumes(
        self, request: volumes_pb2.PruneVolumesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.PruneVolumesResponse:
        """Remove every volume that nothing uses."""

        def change(tx: Transaction) -> list[str]:
            users = volume_use.users(tx.view)
            going = [
                v
                for v in tx.view.list(Volume)
                if v.spec.name not in users
                and not v.pending_delete
                and (request.all or volume_use.has_no_given_name(v))
                and has_labels(v.spec.labels, request.labels)
            ]
            for volume in going:
                tx.put(replace(volume, pending_delete=True, freed_bytes=0))
            return sorted(v.spec.name for v in going)

        return volumes_pb2.PruneVolumesResponse(names=await self._store.update(change))

    async def ReleaseVolume(
        self, request: volumes_pb2.ReleaseVolumeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> volumes_pb2.ReleaseVolumeResponse:
        """Give up the data on a node: the tasks that waited for it may go elsewhere."""

        def change(tx: Transaction) -> list[str]:
            volume = tx.view.resolve(Volume, request.ref)
            node = tx.view.resolve(Node, request.node).id if request.node else ""
            new, names = volume_use.released(tx.view, volume, node)
            if not names:
                raise FailedPrecondition(
                    f"volume {volume.spec.name}: no node that has it is away"
                    if not node
                    else f"volume {volume.spec.name} is not on node {request.node}"
                )
            tx.put(new)
            return names

        nodes = await self._store.update(change)
        return volumes_pb2.ReleaseVolumeResponse(nodes=nodes)


def _in_use(volume: Volume, users: volume_use.Users | None) -> volumes_pb2.VolumeInUse:
    users = users or volume_use.Users()
    return volumes_pb2.VolumeInUse(
        volume=to_message(volume), services=sorted(users.services), tasks=sorted(users.tasks)
    )
