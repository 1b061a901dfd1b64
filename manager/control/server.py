"""The control API's RPCs: read the store, check, edit, commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc.aio

from certs.authority import remembered_until
from certs.unlock import format_unlock_key
from manager.control import checks, edits, view_of
from manager.control.filters import filters_of
from manager.control.roots import Roots, rotate_root
from manager.control.watch.driver import watch
from manager.logs.driver import LogBroker
from manager.state.driver import Store
from manager.state.store import Transaction
from manager.state.tables import View
from pyswarm.api.v1 import control_pb2, control_pb2_grpc, objects_pb2
from pyswarm.errors import FailedPrecondition, SequenceConflict
from pyswarm.model import (
    Cluster,
    ClusterSpec,
    Config,
    Meta,
    Network,
    NetworkSpec,
    Node,
    NodeRole,
    NodeSpec,
    NodeState,
    PayloadSpec,
    Secret,
    Service,
    ServiceSpec,
    Task,
)
from pyswarm.model.payload import CONFIG_BYTES_MAX, SECRET_BYTES_MAX
from pyswarm.wire import from_message, to_message

Stored = TypeVar("Stored", Node, Service, Task, Network, Secret, Config)
Payload = TypeVar("Payload", Secret, Config)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlContext:
    """What the control API is given beside the store."""

    store: Store
    logs: Callable[[], LogBroker]
    new_id: Callable[[], str]
    new_token: Callable[[str], str]
    """A fresh join token for this root digest."""
    new_key: Callable[[], bytes]
    """A fresh unlock key."""
    clock: Callable[[], float]
    with_raft_status: Callable[[Node], Node]
    manager_address: Callable[[], str]
    check_role: Callable[[View, Node, NodeRole], None]
    """Raises where the node cannot take this role."""
    check_unused: Callable[[Node], None]
    """Raises where the node is still a manager."""
    roots: Roots


class ControlServer(control_pb2_grpc.ControlServicer):
    """Answers on the leader; a follower passes calls on before they come here."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._store = context.store

    # ---- nodes ----

    async def ListNodes(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.NodeList:
        """All nodes that match, managers with their state as raft sees it now."""
        wanted = filters_of(request)
        nodes = [self._context.with_raft_status(n) for n in self._store.view.list(Node)]
        return control_pb2.NodeList(nodes=[to_message(n) for n in nodes if wanted.node(n)])

    async def GetNode(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Node:
        """One node by id, hostname or id prefix."""
        node = self._store.view.resolve(Node, request.ref)
        return to_message(self._context.with_raft_status(node))  # type: ignore[no-any-return]

    async def UpdateNode(
        self, request: control_pb2.UpdateNodeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Node:
        """Labels, availability and role; the role follows a moment later."""
        spec = from_message(NodeSpec, request.spec)
        checks.node(spec)

        def change(tx: Transaction) -> Node:
            node = self._current(tx, Node, request.id, request.version)
            self._context.check_role(tx.view, node, spec.role)
            return edits.update_node(node, spec, self._now())

        return await self._changed(change)  # type: ignore[no-any-return]

    async def RemoveNode(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Take a node out for good: its certificate is refused from now on."""

        def change(tx: Transaction) -> None:
            node = tx.view.resolve(Node, request.ref)
            self._context.check_unused(node)
            if node.status.state == NodeState.READY and not request.force:
                raise FailedPrecondition(
                    f"node {node.id} is not down and can't be removed: "
                    "let it leave the swarm first, or use --force"
                )
            [cluster] = tx.view.list(Cluster)
            until = remembered_until(node, cluster.spec, self._now())
            removed = {k: v for k, v in cluster.removed_nodes.items() if v > self._now()}
            tx.put(replace(cluster, removed_nodes={**removed, node.id: until}))
            tx.delete(Node, node.id)

        await self._store.update(change)
        return control_pb2.Empty()

    # ---- services and tasks ----

    async def ListServices(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.ServiceList:
        """All services that match, with how many tasks run and should run."""
        wanted, view = filters_of(request), self._store.view
        found = [s for s in view.list(Service) if wanted.service(s) and not s.pending_delete]
        return control_pb2.ServiceList(services=[view_of.counted(view, s) for s in found])

    async def GetService(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Service:
        """One service by id, name or id prefix."""
        return self._get(Service, request.ref)  # type: ignore[no-any-return]

    async def CreateService(
        self, request: control_pb2.CreateServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new service; it is stored when this returns, and its tasks follow."""
        spec = from_message(ServiceSpec, request.spec)
        checks.service(spec)
        service_id = self._context.new_id()

        def change(tx: Transaction) -> None:
            view_of.require_free_name(tx.view, Service, spec.name)
            resolved = self._resolved(tx, spec)
            view_of.require_free_ports(tx.view, resolved, service_id)
            now = self._now()
            meta = Meta(created_at=now, updated_at=now)
            tx.put(Service(id=service_id, meta=meta, spec=resolved, spec_version=1))

        await self._store.update(change)
        return control_pb2.Created(id=service_id)

    async def UpdateService(
        self, request: control_pb2.UpdateServiceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Service:
        """A new spec, or with `rollback` the one before."""
        spec = from_message(ServiceSpec, request.spec)
        if not request.rollback:
            checks.service(spec)

        def change(tx: Transaction) -> Service:
            service = self._current(tx, Service, request.id, request.version)
            if request.rollback:
                return edits.roll_back_service(service, self._now())
            resolved = self._resolved(tx, spec)
            view_of.require_free_ports(tx.view, resolved, service.id)
            return edits.update_service(service, resolved, self._now())

        return await self._changed(change)  # type: ignore[no-any-return]

    async def RemoveService(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Stop the service's tasks; the record and its addresses go when they have ended."""

        def change(tx: Transaction) -> None:
            service = tx.view.resolve(Service, request.ref)
            tx.put(replace(service, pending_delete=True))

        await self._store.update(change)
        return control_pb2.Empty()

    async def ListTasks(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.TaskList:
        """All tasks that match, ended ones included."""
        wanted = filters_of(request)
        tasks = [to_message(t) for t in self._store.view.list(Task) if wanted.task(t)]
        return control_pb2.TaskList(tasks=tasks)

    async def GetTask(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Task:
        """One task by id, name or id prefix."""
        return self._get(Task, request.ref)  # type: ignore[no-any-return]

    # ---- networks ----

    async def ListNetworks(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.NetworkList:
        """All networks that match."""
        wanted = filters_of(request)
        networks = [to_message(n) for n in self._store.view.list(Network) if wanted.network(n)]
        return control_pb2.NetworkList(networks=networks)

    async def GetNetwork(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Network:
        """One network by id, name or id prefix."""
        return self._get(Network, request.ref)  # type: ignore[no-any-return]

    async def CreateNetwork(
        self, request: control_pb2.CreateNetworkRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new network; its subnet is chosen by the allocator a moment later."""
        spec = from_message(NetworkSpec, request.spec)
        checks.network(spec)
        network_id = self._context.new_id()

        def change(tx: Transaction) -> None:
            view_of.require_free_name(tx.view, Network, spec.name)
            view_of.require_free_subnet(tx.view, spec)
            now = self._now()
            named = replace(spec, driver="overlay")
            tx.put(Network(id=network_id, meta=Meta(created_at=now, updated_at=now), spec=named))

        await self._store.update(change)
        return control_pb2.Created(id=network_id)

    async def RemoveNetwork(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Remove a network that nothing uses."""

        def change(tx: Transaction) -> None:
            network = tx.view.resolve(Network, request.ref)
            view_of.require_unused_network(tx.view, network)
            tx.delete(Network, network.id)

        await self._store.update(change)
        return control_pb2.Empty()

    # ---- secrets and configs ----

    async def ListSecrets(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.SecretList:
        """All secrets that match, without their content."""
        wanted = filters_of(request)
        found = [s for s in self._store.view.list(Secret) if wanted.payload(s)]
        return control_pb2.SecretList(secrets=[to_message(view_of.veiled(s)) for s in found])

    async def GetSecret(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Secret:
        """One secret, without its content."""
        secret = self._store.view.resolve(Secret, request.ref)
        return to_message(view_of.veiled(secret))  # type: ignore[no-any-return]

    async def CreateSecret(
        self, request: control_pb2.CreatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new secret."""
        return await self._create_payload(Secret, request, SECRET_BYTES_MAX)

    async def UpdateSecret(
        self, request: control_pb2.UpdatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Secret:
        """New labels."""
        secret = await self._update_payload(Secret, request)
        return to_message(view_of.veiled(secret))  # type: ignore[no-any-return]

    async def RemoveSecret(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Remove a secret that no service uses."""
        return await self._remove_payload(Secret, request)

    async def ListConfigs(
        self, request: control_pb2.ListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.ConfigList:
        """All configs that match."""
        wanted = filters_of(request)
        configs = [to_message(c) for c in self._store.view.list(Config) if wanted.payload(c)]
        return control_pb2.ConfigList(configs=configs)

    async def GetConfig(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Config:
        """One config with its content."""
        return self._get(Config, request.ref)  # type: ignore[no-any-return]

    async def CreateConfig(
        self, request: control_pb2.CreatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Created:
        """A new config."""
        return await self._create_payload(Config, request, CONFIG_BYTES_MAX)

    async def UpdateConfig(
        self, request: control_pb2.UpdatePayloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> objects_pb2.Config:
        """New labels."""
        return to_message(await self._update_payload(Config, request))  # type: ignore[no-any-return]

    async def RemoveConfig(
        self, request: control_pb2.Reference, context: grpc.aio.ServicerContext[Any, Any]
    ) -> control_pb2.Empty:
        """Remove a config that no service uses."""
        return await self._remove_payload(Config, request)

    # ---- cluster ----

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

    # ---- streams ----

    async def Watch(
        self, request: control_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[control_pb2.WatchEvent]:
        """What matches now, then SYNCED, then each change; after a lag it begins again."""
        kinds = view_of.watched_kinds(request.kinds)
        async for event in watch(
            self._store, kinds, frozenset(request.services), follow=request.follow
        ):
            yield event

    async def Logs(
        self, request: control_pb2.LogsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[control_pb2.LogChunk]:
        """Logs of services and tasks from every node that has them."""
        services, tasks = frozenset(request.services), frozenset(request.tasks)

        def wanted() -> list[Task]:
            view = self._store.view
            found = [t for s in sorted(services) for t in view.tasks_of_service(s)]
            singles = [view.get(Task, t) for t in sorted(tasks)]
            return found + [t for t in singles if t is not None]

        def hostname(node_id: str) -> str:
            node = self._store.view.get(Node, node_id)
            return node.hostname if node else node_id

        async for chunk in self._context.logs().read(wanted, hostname, request):
            yield chunk

    # ---- what the kinds share ----

    def _now(self) -> float:
        return self._context.clock()

    def _get(self, kind: type[Stored], ref: str) -> Any:
        return to_message(self._store.view.resolve(kind, ref))

    def _resolved(self, tx: Transaction, spec: ServiceSpec) -> ServiceSpec:
        return edits.resolve_references(
            spec,
            lambda ref: tx.view.resolve(Network, ref).id,
            lambda ref: tx.view.resolve(Secret, ref).id,
            lambda ref: tx.view.resolve(Config, ref).id,
        )

    def _current(self, tx: Transaction, kind: type[Stored], ref: str, version: int) -> Stored:
        """The record to change; raises SequenceConflict where it is not as it was at `version`.

        What is in flight bears no version yet, so a record counts as unchanged where it is equal
        to the committed one.
        """
        record: Stored = tx.view.resolve(kind, ref)
        committed: Stored | None = self._store.view.get(kind, record.id)
        if version and not edits.is_at(record, committed, version):
            raise SequenceConflict(
                "update out of sequence: it changed since it was read, try again"
            )
        return record

    async def _changed(self, change: Callable[[Transaction], Stored]) -> Any:
        """Store what `change` makes, and answer it as it stands then."""

        def put(tx: Transaction) -> Stored:
            record = change(tx)
            tx.put(record)
            return record

        record = await self._store.update(put)
        return to_message(self._store.view.get(type(record), record.id) or record)

    async def _create_payload(
        self, kind: type[Payload], request: control_pb2.CreatePayloadRequest, bytes_max: int
    ) -> control_pb2.Created:
        spec = from_message(PayloadSpec, request.spec)
        checks.payload(kind.__name__.lower(), spec, bytes_max)
        payload_id = self._context.new_id()

        def change(tx: Transaction) -> None:
            view_of.require_free_name(tx.view, kind, spec.name)
            now = self._now()
            tx.put(kind(id=payload_id, meta=Meta(created_at=now, updated_at=now), spec=spec))

        await self._store.update(change)
        return control_pb2.Created(id=payload_id)

    async def _update_payload(
        self, kind: type[Payload], request: control_pb2.UpdatePayloadRequest
    ) -> Payload:
        spec = from_message(PayloadSpec, request.spec)

        def change(tx: Transaction) -> Payload:
            old = self._current(tx, kind, request.id, request.version)
            new = edits.update_labels(old, spec, self._now())
            if new is not old:  # a stack deployed again names its secrets again
                tx.put(new)
            return new

        # The one that it equals may be in flight: this is no success before that is one.
        return await self._store.update(change, confirm=True)

    async def _remove_payload(
        self, kind: type[Payload], request: control_pb2.Reference
    ) -> control_pb2.Empty:
        def change(tx: Transaction) -> None:
            payload = tx.view.resolve(kind, request.ref)
            view_of.require_unused_payload(tx.view, payload)
            tx.delete(kind, payload.id)

        await self._store.update(change)
        return control_pb2.Empty()
