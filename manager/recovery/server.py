"""What a manager tells the others about itself, and asks of them; backups of its state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from certs.authority import issuer_of
from manager.raft.driver import RaftNode
from manager.raft.membership import Member
from manager.recovery import alone, status
from manager.recovery.backup import PIECE_BYTES, Manifest, encode_manifest
from manager.recovery.disk import figures
from manager.state.driver import Store
from manager.state.tables import KINDS
from pyswarm import __version__
from pyswarm.api.v1 import control_pb2, recovery_pb2, recovery_pb2_grpc
from pyswarm.errors import SwarmError
from pyswarm.model import Node
from pyswarm.model.identity import node_name
from pyswarm.rpc import ChannelPool, swarm_errors

ASK_SECONDS = 2.0
READ_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryContext:
    """What a manager is given to tell how it stands; `directory` is raft's."""

    node_id: str
    store: Store
    raft: RaftNode
    pool: ChannelPool
    directory: Path


class HealthServer(recovery_pb2_grpc.HealthServicer):
    """One manager's own figures, for the others."""

    def __init__(self, context: RecoveryContext) -> None:
        self._context = context

    async def Figures(
        self,
        request: control_pb2.Empty,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> recovery_pb2.ManagerFigures:
        """The figures of this moment."""
        return await own_figures(self._context)


async def own_figures(context: RecoveryContext) -> recovery_pb2.ManagerFigures:
    """What this manager knows of itself."""
    files = await asyncio.to_thread(figures, context.directory)
    raft = context.raft.status()
    return recovery_pb2.ManagerFigures(
        node_id=context.node_id,
        raft_id=raft.raft_id,
        role=raft.role,
        term=raft.term,
        leader_id=raft.leader_id,
        commit_index=raft.commit,
        applied_index=context.raft.last_applied,
        first_index=raft.first_index,
        last_index=raft.last_index,
        snapshot_index=raft.snapshot_index,
        snapshot_at=files.snapshot_at,
        snapshot_bytes=files.snapshot_bytes,
        log_bytes=files.log_bytes,
        log_segments=files.log_segments,
        last_term=raft.last_term,
        clock=time.time(),
    )


async def swarm_status(context: RecoveryContext) -> recovery_pb2.SwarmStatus:
    """All managers as seen from this one, which asks each of them; needs no leader."""
    members = sorted(
        context.raft.membership.members, key=lambda member: _hostname(context, member.node_id)
    )
    answers = await asyncio.gather(*(_ask(context, member) for member in members))
    standings = [_standing(context, *pair) for pair in zip(members, answers, strict=True)]
    quorum, leader = status.quorum_of(standings), status.leader_of(standings)
    view = context.store.view
    asked = _hostname(context, context.node_id)
    cluster = view.cluster
    report = recovery_pb2.SwarmStatus(
        cluster_id=cluster.id if cluster else "",
        node_id=context.node_id,
        hostname=asked,
        leader=leader.hostname if leader else "",
        managers=quorum.managers,
        quorum=quorum.needed,
        reachable=quorum.reachable,
        may_fail=quorum.may_fail,
        advice=status.advice(
            standings,
            asked,
            alone.waiting_nodes(view),
            autolock=cluster is not None and cluster.spec.autolock,
        ),
    )
    for member, standing, answer in zip(members, standings, answers, strict=True):
        line = member_status(context, member)
        line.reachable = standing.reachable
        line.leader = standing is leader
        line.lag_entries = status.lag_of(standing, standings)
        if answer is not None:
            line.figures.CopyFrom(answer.figures)
        report.members.append(line)
    return report


@dataclass(frozen=True, slots=True)
class Answer:
    """A member's figures, and how many seconds its clock is ahead of this machine's."""

    figures: recovery_pb2.ManagerFigures
    ahead_seconds: float = 0.0


async def _ask(context: RecoveryContext, member: Member) -> Answer | None:
    """What the member says; None where it does not answer."""
    if member.node_id == context.node_id:
        return Answer(await own_figures(context))
    channel = context.pool.get(member.address, node_name(member.node_id))
    stub = recovery_pb2_grpc.HealthStub(channel)
    try:
        with swarm_errors(member.address):
            asked = time.time()
            answer = await stub.Figures(control_pb2.Empty(), timeout=ASK_SECONDS)
            between = (asked + time.time()) / 2
            # A manager of an older version does not say.
            return Answer(answer, answer.clock - between if answer.clock else 0.0)
    except SwarmError:
        return None


def _standing(context: RecoveryContext, member: Member, answer: Answer | None) -> status.Standing:
    silent = status.Standing(
        raft_id=member.raft_id,
        hostname=_hostname(context, member.node_id),
        address=member.address,
        learner=member.learner,
    )
    if answer is None:
        return silent
    figures = answer.figures
    return replace(
        silent,
        commit=figures.commit_index,
        applied=figures.applied_index,
        last=(figures.last_term, figures.last_index),
        leads=figures.leader_id == member.raft_id,
        names=figures.leader_id,
        ahead_seconds=answer.ahead_seconds,
    )


def member_status(context: RecoveryContext, member: Member) -> recovery_pb2.MemberStatus:
    """The member as this manager knows it without asking."""
    heard = context.raft.heard.get(member.raft_id)
    own = member.node_id == context.node_id
    since = -1.0 if heard is None else asyncio.get_running_loop().time() - heard
    return recovery_pb2.MemberStatus(
        raft_id=member.raft_id,
        node_id=member.node_id,
        hostname=_hostname(context, member.node_id),
        address=member.address,
        learner=member.learner,
        heard_seconds=0.0 if own else since,
    )


def _hostname(context: RecoveryContext, node_id: str) -> str:
    node = context.store.view.get(Node, node_id)
    return node.hostname if node else node_id


async def backup(context: RecoveryContext) -> AsyncIterator[recovery_pb2.BackupChunk]:
    """The state in pieces, with everything that was acknowledged before the call."""
    await context.raft.read_index(READ_SECONDS)
    # Without an await between them, these are of one moment.
    view, index = context.store.view, context.raft.last_applied
    term, membership = context.raft.term, context.raft.membership
    cluster = view.cluster
    assert cluster is not None, "a swarm has its cluster record from the beginning"
    data = await asyncio.to_thread(context.store.capture())
    manifest = Manifest(
        created_at=time.time(),
        pyswarm_version=__version__,
        cluster_id=cluster.id,
        node_id=context.node_id,
        hostname=_hostname(context, context.node_id),
        index=index,
        term=term,
        membership=membership,
        state_bytes=len(data),
        counts={f"{kind.__name__.lower()}s": view.count(kind) for kind in KINDS.values()},
        root_key=bool(issuer_of(cluster.root_ca).key_pem),
    )
    yield recovery_pb2.BackupChunk(manifest=encode_manifest(manifest))
    for start in range(0, len(data), PIECE_BYTES):
        last = start + PIECE_BYTES >= len(data)
        yield recovery_pb2.BackupChunk(data=data[start : start + PIECE_BYTES], last=last)
