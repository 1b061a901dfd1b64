"""Calls about the cluster itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc.aio

from certs.unlock import format_unlock_key
from manager.control import edits, view_of
from manager.control.calls.server import Calls
from manager.control.roots import rotate_root
from manager.state.store import Transaction
from pyswarm.api.v1 import control_pb2, objects_pb2
from pyswarm.errors import SequenceConflict
from pyswarm.model import Cluster, ClusterSpec
from pyswarm.wire import from_message, to_message


class ClusterCalls(Calls):
    """The cluster: settings, root, tokens, unlock key."""

    async def GetCluster(
        self, request: control_pb2.Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Cluster:
        """The cluster's settings and root certificate, without keys and tokens."""
        [cluster] = self._store.view.list(Cluster)
        return to_message(view_of.public(cluster))  # type: ignore[no-any-return]

    async def UpdateCluster(
        self, request: control_pb2.UpdateClusterRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Cluster:
        """New settings, new join tokens, a new unlock key."""
        fresh = self._context.new_key()
        spec = from_message(ClusterSpec, request.spec) if request.HasField("spec") else None
        if spec is not None:
            view_of.check_cluster(spec)

        def change(tx: Transaction) -> Cluster:
            [cluster] = tx.view.list(Cluster)
            if request.version and cluster.meta.version != request.version:
                raise SequenceConflict("update out of sequence: read the cluster again")
            root = cluster.root_ca
            if request.rotate_worker_token:
                root = replace(root, worker_token=self._context.new_token(root.digest))
            if request.rotate_manager_token:
                root = replace(root, manager_token=self._context.new_token(root.digest))
            meta = replace(cluster.meta, updated_at=self._now())
            settled = self._context.roots.settle(cluster, spec) if spec else cluster.spec
            changed = replace(cluster, root_ca=root, spec=settled, meta=meta)
            changed = edits.set_unlock_key(changed, fresh, rotate=request.rotate_unlock_key)
            tx.put(changed)
            return changed

        changed = await self._store.update(change)
        return to_message(view_of.public(changed))  # type: ignore[no-any-return]

    async def RotateRoot(
        self, request: control_pb2.RotateRootRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Cluster:
        """Begin a rotation of the root; the answer is the cluster with the new one."""
        await rotate_root(self._context.roots, request)
        return await self.GetCluster(control_pb2.Empty(), context)

    async def GetJoinTokens(
        self, request: control_pb2.Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.JoinTokens:
        """What a new node must show."""
        [cluster] = self._store.view.list(Cluster)
        return control_pb2.JoinTokens(
            worker=cluster.root_ca.worker_token,
            manager=cluster.root_ca.manager_token,
            manager_address=self._context.manager_address(),
        )

    async def GetUnlockKey(
        self, request: control_pb2.Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.UnlockKey:
        """What a manager that restarts must be shown; empty without autolock."""
        [cluster] = self._store.view.list(Cluster)
        key = format_unlock_key(cluster.unlock_key)
        return control_pb2.UnlockKey(key=key, version=cluster.meta.version)
