"""What the rest of a manager calls: propose, read, change the members, hand over.

The work is done by the rounds of `runtime.Runtime`; here callers wait for its results.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from manager.raft.leader import Leader
from manager.raft.membership import Change, Member, RemoveMember
from manager.raft.messages import Entry, Message
from manager.raft.runtime import Runtime
from manager.raft.seams import RoleCallback, StateMachine, Transport
from manager.raft.status import RaftStatus
from pyswarm.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotLeader,
    ResourceExhausted,
    SwarmError,
    Unavailable,
)

__all__ = ["RaftNode", "RoleCallback", "StateMachine", "Transport"]

log = logging.getLogger(__name__)

READ_RETRY_SECONDS = 0.5
HANDOVER_SECONDS = 2.0


class RaftNode(Runtime):
    """A manager's part in the consensus; see `Runtime` for how it is made.

    All methods belong to the event loop.
    """

    @cached_property
    def heard(self) -> dict[int, float]:
        """The loop's time at the last messages of each member."""
        return {}

    def receive(self, messages: Sequence[Message]) -> None:
        """Messages of one peer arrived."""
        for message in messages[:1]:
            self.heard[message.sender] = asyncio.get_running_loop().time()
        super().receive(messages)

    def unapplied(self) -> tuple[Entry, ...]:
        """What is in the log behind the applied entries, committed or not."""
        log = self._raft.log
        return log.slice(self.last_applied + 1, log.last_index, 1 << 62)

    async def stop(self, transfer: bool = True) -> None:
        """Leave the leadership to another, where there is one, and close the disk."""
        if transfer:
            await self.hand_over()
        await self.close()

    async def hand_over(self, avoid: Collection[int] = ()) -> None:
        """Give the leadership, where this member has it, to the reachable voter that is furthest;
        to one of `avoid` only where there is no other. That nobody took it is logged."""
        role = self._raft.role
        if not self._running or not isinstance(role, Leader):
            return
        voters = self.membership.voters
        able = [
            (peer not in avoid, p.match, peer)
            for peer, p in role.progress.items()
            if p.active and peer in voters
        ]
        if able:
            try:
                await self.transfer_leadership(max(able)[2], HANDOVER_SECONDS)
            except SwarmError as error:
                log.warning("leaving without a successor: %s", error.message)

    @property
    def trouble(self) -> SwarmError | None:
        """What keeps this member from leading, where it is known."""
        return self._disk_full

    async def propose(self, data: bytes, timeout: float) -> int:
        """Put `data` into the log; its index once it is committed and applied here.

        Raises NotLeader (it did not and will not take effect), ResourceExhausted (too much under
        way, or the disk is full; it did not take effect), Unavailable and DeadlineExceeded
        (whether it takes effect is not known).
        """
        self._check_leads()
        if len(data) > self.settings.entry_bytes:
            raise InvalidArgument(
                f"a change of {len(data)} bytes is above the limit of {self.settings.entry_bytes}"
            )
        if (
            len(self._proposals) >= self.settings.proposals
            or self._proposals.bytes >= self.settings.proposal_bytes
        ):
            raise ResourceExhausted("too many changes are under way: try again in a moment")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._proposals.add(data, future, loop.time())
        if self._has_gathered():
            self._schedule()
        return await self._outcome(future, timeout)

    async def _outcome(self, future: asyncio.Future[int], timeout: float) -> int:
        self._deadlines.add(future, asyncio.get_running_loop().time(), timeout)
        try:
            return await future
        finally:
            self._deadlines.remove(future)

    def _check_leads(self) -> None:
        self._check_running()
        if self._disk_full is not None:
            raise self._disk_full
        if not self.is_leader:
            raise self.not_leader()

    def _check_running(self) -> None:
        if not self._running:
            raise Unavailable("the consensus of this manager does not run")

    async def reseal(self) -> frozenset[int]:
        """Write what is on the disk again, sealed with the cryptor's newest key.

        The numbers of the keys that the files need afterwards. Raises Unavailable where it did
        not come to an end: a full disk, or the end of this manager; it may be repeated.
        """
        self._check_running()
        self._resealing = asyncio.get_running_loop().create_future()
        self._schedule()
        return await self._resealing

    async def change_membership(self, change: Change, timeout: float) -> int:
        """Add, promote, move or remove a member; the index once it is applied here.

        Waits while another change is under way. Raises like `propose`, and AlreadyExists, NotFound
        or FailedPrecondition where the change does not fit. A leader that shall remove itself
        hands over and raises NotLeader: the next leader does it.
        """
        if change == RemoveMember(self.raft_id) and self.is_leader:
            if len(self.membership.voters) == 1:
                self.membership.refusal(change)
            await self.hand_over()
            raise self.not_leader()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (index := self._try_change(change)) is None:
            if loop.time() >= deadline:
                raise Unavailable("another change of the managers is under way: try again later")
            await asyncio.sleep(self.settings.tick_seconds)
        future: asyncio.Future[int] = loop.create_future()
        self._proposals.appended(index, self.term, [(b"", future)])
        self._schedule()
        return await self._outcome(future, max(0.0, deadline - loop.time()))

    def _try_change(self, change: Change) -> int | None:
        self._check_leads()
        try:
            return self._raft.propose_change(change)
        except NotLeader:
            raise self.not_leader() from None
        except Unavailable:
            return None

    async def transfer_leadership(self, to: int, timeout: float = HANDOVER_SECONDS) -> None:
        """Make `to` the leader; raises DeadlineExceeded where it did not take over in time."""
        self._check_leads()
        self._raft.transfer(to)
        self._schedule()
        try:
            await self._until(lambda: self._raft.leader_id not in (0, self.raft_id), timeout)
        except DeadlineExceeded:
            raise DeadlineExceeded(
                f"the leadership was not taken over within {timeout:g} s"
            ) from None

    async def read_index(self, timeout: float) -> int:
        """Wait until this member's state holds everything that was committed before the call."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        index = None
        while index is None:
            left = deadline - loop.time()
            if left <= 0:
                raise Unavailable(
                    "no leader confirmed the read: a majority of the managers must be reachable"
                )
            index = await self._ask_read(min(left, READ_RETRY_SECONDS))
        waiter: asyncio.Future[int] = loop.create_future()
        self._waiting.for_index(index, waiter)
        self._waiting.check(self.last_applied)
        return await self._outcome(waiter, max(0.0, deadline - loop.time()))

    async def _ask_read(self, timeout: float) -> int | None:
        """Ask once; None where no answer came, because there is no leader or it got lost."""
        self._check_running()
        if len(self._reads) >= self.settings.reads:
            raise ResourceExhausted("too many reads are under way: try again in a moment")
        self._next_read += 1
        request = self._next_read
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reads[request] = future
        self._raft.read(request)
        self._schedule()
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return None
        finally:
            self._reads.pop(request, None)

    async def wait_until_leader(self, timeout: float) -> Member:
        """The leader, as soon as this member knows one and its address."""
        await self._until(lambda: self.get_leader() is not None, timeout)
        leader = self.get_leader()
        assert leader is not None, "the condition was checked in this round"
        return leader

    async def wait_until_voter(self, timeout: float) -> None:
        """Until this member counts among those who decide; raises DeadlineExceeded."""
        await self._until(lambda: self.raft_id in self.membership.voters, timeout)

    async def settled_status(self, timeout: float) -> RaftStatus:
        """The status once every peer has answered this leader, or has not within an election's
        time: a new leader takes all for reachable. Raises NotLeader and DeadlineExceeded."""
        await self._until(lambda: all(peer.known for peer in self.status().peers), timeout)
        if not self.is_leader:
            raise self.not_leader()
        return self.status()

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        self._check_running()
        if condition():
            return
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.until(condition, waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            raise DeadlineExceeded(f"the managers found no leader within {timeout:g} s") from None
