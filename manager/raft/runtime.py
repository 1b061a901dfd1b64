"""One member of the consensus at work: the core, its disk, its peers and its state machine.

Everything happens in rounds on the event loop: what arrived is stepped, proposals that wait are
appended together, messages leave, one write goes to the writer thread, committed entries are
applied. While a write is under way the next one gathers, so they share its fsync.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manager.raft.core import Raft, Saved, Write
from manager.raft.disk import DiskFull, RaftDisk
from manager.raft.membership import Member, Membership
from manager.raft.messages import Entry, EntryKind, InstallSnapshot, Message, SnapshotMeta
from manager.raft.pending import Deadlines, Proposals, Waiting, answer
from manager.raft.seams import RoleCallback, StateMachine, Transport
from manager.raft.settings import RaftSettings
from manager.raft.status import RaftStatus, status_of
from manager.raft.transport import RemovedSender
from manager.raft.wal import Cryptor
from pyswarm.aio import Supervisor
from pyswarm.crashpoints import reach
from pyswarm.errors import NotLeader, PermissionDenied, SwarmError, Unavailable

log = logging.getLogger(__name__)

APPLY_SECONDS = 0.005
"""Applying yields to the rest of the loop after this time."""


class Runtime:
    """A manager's part in the consensus.

    The calls for others are in `driver.RaftNode`. `bootstrap` makes a new cluster of these members
    where `directory` is empty; a manager that joins has none and learns all from the leader.
    """

    def __init__(
        self,
        raft_id: int,
        directory: Path,
        cryptor: Cryptor,
        transport: Transport,
        state_machine: StateMachine,
        settings: RaftSettings | None = None,
        *,
        bootstrap: Membership | None = None,
    ) -> None:
        self.raft_id = raft_id
        self.settings = settings or RaftSettings()
        self.last_applied = 0
        self.removed = asyncio.Event()  # this member was removed from the cluster
        self.failed = asyncio.Event()  # the disk or the state machine failed; see `error`
        self.error: BaseException | None = None
        self._directory = directory
        self._transport = transport
        self._machine = state_machine
        self._bootstrap = bootstrap
        self._disk = RaftDisk(directory, cryptor, self.settings)
        self._writer = ThreadPoolExecutor(1, f"raft-disk-{raft_id:x}")
        self._helper = ThreadPoolExecutor(1, f"raft-snapshot-{raft_id:x}")
        self._supervisor = Supervisor(f"raft-{raft_id:x}")
        self._raft = Raft(raft_id, self.settings, random.randrange, Saved(SnapshotMeta()))
        self._running = False
        self._scheduled = False
        self._disk_full: DiskFull | None = None
        self._to_apply: deque[Entry] = deque()
        self._batch: tuple[Entry, ...] = ()
        self._proposals = Proposals()
        self._gathering: asyncio.TimerHandle | None = None
        self._reads: dict[int, asyncio.Future[int]] = {}
        self._next_read = random.getrandbits(48)
        self._waiting = Waiting()
        self._deadlines = Deadlines()
        self._callbacks: list[RoleCallback] = []
        self._told: tuple[bool, int] = (False, 0)
        self._known_members: Membership | None = None
        self._snapshotting = False
        self._resealing: asyncio.Future[frozenset[int]] | None = None  # waits for a snapshot
        self._bytes_since_snapshot = 0

    # -- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the disk, restore the state machine, take part."""
        loop = asyncio.get_running_loop()
        try:
            saved, data = await loop.run_in_executor(self._writer, self._disk.open, self.raft_id)
        except BaseException:
            self._close_threads()
            raise
        if saved.snapshot.index == 0 and self._bootstrap is not None:
            meta = SnapshotMeta(1, 1, self._bootstrap)
            data = self._machine.capture()()
            saved = await loop.run_in_executor(self._writer, self._disk.create, meta, data)
        if saved.snapshot.index:
            self._machine.restore(saved.snapshot.index, data)
        reach("raft.restored")
        self.last_applied = saved.snapshot.index
        self._raft = Raft(self.raft_id, self.settings, random.randrange, saved)
        self._running = True
        # What was loaded so far lives as long as the process. Without this a full collection walks
        # it and holds the loop for 25 ms.
        gc.freeze()
        self._transport.start(self)
        if self.membership.voters == (self.raft_id,):
            self._raft.campaign()  # nobody else could be leading
        self._supervisor.start(self._tick(), "ticks")
        self._schedule()

    async def close(self) -> None:
        """Stop taking part and release the directory."""
        self._running = False
        await self._supervisor.close()
        await self._transport.stop()
        loop = asyncio.get_running_loop()
        # Behind the work that the two threads still have.
        await loop.run_in_executor(self._helper, lambda: None)
        await loop.run_in_executor(self._writer, self._disk.close)
        self._close_threads()
        self._fail_callers(Unavailable("this manager is stopping: ask another one"))
        self._tell_role(False, self.term)

    def _close_threads(self) -> None:
        self._writer.shutdown(wait=False)
        self._helper.shutdown(wait=False)

    def _fail(self, error: BaseException) -> None:
        """Stop taking part at once: what is on disk or in the state machine is not certain."""
        if self.error is not None:
            return
        log.error("the consensus of this manager stopped on an error", exc_info=error)
        self.error = error
        self._running = False
        self._fail_callers(Unavailable(f"the consensus of this manager has failed: {error}"))
        self._tell_role(False, self.term)
        self.failed.set()

    def _fail_callers(self, error: SwarmError) -> None:
        self._proposals.fail(error)
        self._waiting.fail(error)
        for future in self._reads.values():
            if not future.done():
                future.set_exception(error)
        self._reads.clear()
        _refuse(self._resealing, error)

    # -- what can be seen ------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether this member leads and its state machine is current."""
        return self._running and self._raft.is_leader

    @property
    def leader_id(self) -> int:
        """The leader as far as this member knows; 0 for none."""
        return self._raft.leader_id

    @property
    def term(self) -> int:
        """The current term."""
        return self._raft.term

    @property
    def membership(self) -> Membership:
        """The members as of the last applied change."""
        return self._raft.membership

    def get_leader(self) -> Member | None:
        """The leader with its address, where this member knows it."""
        return self.membership.get(self.leader_id) if self.leader_id else None

    def not_leader(self) -> NotLeader:
        """The refusal that names the leader, where it is known."""
        leader = self.get_leader()
        return NotLeader(leader=leader.address if leader is not None else "")

    def status(self) -> RaftStatus:
        """Figures for people."""
        return status_of(self._raft)

    def on_role_change(self, callback: RoleCallback) -> None:
        """Call `callback(is_leader, term)` at each change.

        True comes only after the first entry of the own term is applied, so the state is current.
        """
        self._callbacks.append(callback)

    # -- what the transport calls ----------------------------------------------------------

    def receive(self, messages: Sequence[Message]) -> None:
        """Messages of a peer arrived."""
        if not self._running:
            return
        try:
            for message in messages:
                self._raft.step(message)
        except Exception as error:
            self._fail(error)
        self._schedule_if_stirred()

    def unreachable(self, raft_id: int) -> None:
        """Messages to a peer were lost."""
        self._raft.unreachable(raft_id)

    def disconnected(self, raft_id: int) -> None:
        """A peer's stream ended."""
        self._raft.disconnected(raft_id)

    def check_sender(self, raft_id: int, node_id: str) -> None:
        """Refuse who was removed, and who uses another member's id."""
        if raft_id in self.membership.removed:
            raise RemovedSender(f"raft member {raft_id:x} was removed from this cluster")
        member = self.membership.get(raft_id)
        if member is not None and member.node_id != node_id:
            raise PermissionDenied(f"raft member {raft_id:x} is not node {node_id}")

    def told_removed(self) -> None:
        """A peer refused us because we were removed."""
        self.removed.set()

    def snapshot_limit_bytes(self) -> int:
        """The largest snapshot that is taken from a leader."""
        return self.settings.snapshot_bytes

    # -- rounds ----------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.settings.tick_seconds)
            # One tick for each wake-up, however late: a process that slept has heard nobody, and
            # must not conclude from it that nobody is there.
            try:
                self._raft.tick()
            except Exception as error:
                self._fail(error)
            self._deadlines.look(asyncio.get_running_loop().time())
            self._schedule_if_stirred()

    def _schedule_if_stirred(self) -> None:
        """Make a round where it may have something to do or to tell."""
        leads = self._raft.is_leader
        waits = self._to_apply or self._proposals.queued or self._waiting.for_conditions
        if waits or leads is not self._told[0] or self._raft.has_work:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self._running:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._scheduled = False
        if not self._running:
            return
        try:
            self._append_proposals()
            ready = self._raft.ready()
            if ready.messages:
                self._send(ready.messages)
                reach("raft.sent")
            if ready.write is not None:
                self._write(ready.write)
            for read in ready.reads:
                future = self._reads.pop(read.request, None)
                if future is not None:
                    answer(future, read.index)
            if ready.committed:
                assert not self._to_apply, "a batch before the last one was applied"
                self._batch = ready.committed
                self._to_apply.extend(ready.committed)
            self._apply()
            self._notice()
        except Exception as error:
            self._fail(error)

    def _append_proposals(self) -> None:
        if not self._proposals.queued or (self._raft.is_leader and not self._has_gathered()):
            return
        batch = self._proposals.begin(asyncio.get_running_loop().time())
        if not batch:
            return
        try:
            first = self._raft.propose([data for data, _ in batch])
        except NotLeader:
            self._proposals.refused(batch, self.not_leader())
        except SwarmError as error:
            self._proposals.refused(batch, error)
        else:
            self._proposals.appended(first, self.term, batch)

    def _has_gathered(self) -> bool:
        """Whether what is queued is appended now; else a later round does it."""
        loop = asyncio.get_running_loop()
        wait = self._proposals.wait_seconds(self.term, loop.time())
        if 0 < wait < math.inf and self._gathering is None:
            self._gathering = loop.call_later(wait, self._gathered)
        return wait <= 0

    def _gathered(self) -> None:
        self._gathering = None
        self._schedule()

    def _send(self, messages: Sequence[Message]) -> None:
        small = [message for message in messages if not isinstance(message, InstallSnapshot)]
        self._transport.send(small)
        if len(small) < len(messages):
            for message in messages:
                if isinstance(message, InstallSnapshot):
                    self._supervisor.start(self._send_snapshot(message), "send-snapshot")

    def _write(self, write: Write) -> None:
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._writer, self._disk.write, write)
        done.add_done_callback(lambda future: self._write_done(write, future))

    def _write_done(self, write: Write, future: asyncio.Future[None]) -> None:
        error = future.exception()
        if not self._running:
            return
        if isinstance(error, DiskFull):
            self._pause(write, error)
            return
        if error is not None:
            self._fail(error)
            return
        if self._disk_full is not None:
            log.warning("there is room again under %s: going on", self._directory)
            self._disk_full = None
            self._raft.electable = True
        reach("raft.write-done")
        try:
            self._raft.written(write)
            if write.snapshot is not None:
                self._restore(write.snapshot)
        except Exception as failure:
            self._fail(failure)
        self._schedule()

    def _pause(self, write: Write, error: DiskFull) -> None:
        """Promise nothing and lead nobody until the same write succeeds."""
        if self._disk_full is None:
            log.error("%s", error.message)
            self._disk_full = error
            self._raft.electable = False
            self._raft.step_down()
            self._proposals.fail(
                Unavailable(f"{error.message}; whether the change takes effect is not known")
            )
            self._schedule()
        loop = asyncio.get_running_loop()
        loop.call_later(self.settings.disk_retry_seconds, self._write, write)

    def _restore(self, message: InstallSnapshot) -> None:
        index = message.snapshot.index
        self._to_apply.clear()
        self._batch = ()
        self._machine.restore(index, message.data)
        self.last_applied = index
        self._bytes_since_snapshot = 0
        self._proposals.skipped(index)
        self._writer.submit(self._disk.remove_segments, index)

    def _apply(self) -> None:
        queue = self._to_apply
        if not queue:
            return
        clock = asyncio.get_running_loop().time
        end = clock() + APPLY_SECONDS
        while queue:
            entry = queue.popleft()
            if entry.kind is EntryKind.NORMAL:
                self._machine.apply(entry.index, entry.data)
                self._bytes_since_snapshot += len(entry.data)
                reach("raft.applied")
            self.last_applied = entry.index
            if entry.kind is not EntryKind.MEMBERSHIP:
                self._proposals.applied(entry)
            if queue and clock() > end:
                break
        else:
            batch, self._batch = self._batch, ()
            self._raft.applied(self.last_applied)
            for entry in batch:
                if entry.kind is EntryKind.MEMBERSHIP:
                    self._proposals.applied(entry)
        self._schedule_if_stirred()

    def _notice(self) -> None:
        """Tell others what has changed in this round."""
        membership = self.membership
        if membership is not self._known_members:
            self._known_members = membership
            self._transport.set_members(membership)
            if self.raft_id in membership.removed:
                self.removed.set()
        self._tell_role(self._raft.is_leader, self.term)
        self._waiting.check(self.last_applied)
        self._maybe_snapshot()

    def _tell_role(self, leads: bool, term: int) -> None:
        was, old_term = self._told
        if was and (not leads or term != old_term):
            self._told = (False, term)
            for callback in self._callbacks:
                callback(False, term)
        if leads and self._told != (True, term):
            self._told = (True, term)
            for callback in self._callbacks:
                callback(True, term)

    # -- snapshots -------------------------------------------------------------------------

    def _maybe_snapshot(self) -> None:
        due = (
            (self._resealing is not None and self.last_applied > 0)
            or self.last_applied - self._raft.log.snapshot.index
            >= self.settings.snapshot_interval_entries
            or self._bytes_since_snapshot >= self.settings.snapshot_interval_bytes
        )
        # In the middle of a batch the members may already differ from those of `last_applied`.
        if not due or self._snapshotting or self._to_apply or self._disk_full is not None:
            return
        index = self.last_applied
        term = self._raft.log.term(index)
        assert term is not None, f"applied entry {index} is not in the log"
        self._snapshotting = True
        self._bytes_since_snapshot = 0
        meta = SnapshotMeta(index, term, self.membership)
        # Only a snapshot that begins now has nothing in it that an older key has sealed.
        resealing, self._resealing = self._resealing, None
        work = self._snapshot(meta, self._machine.capture(), resealing)
        self._supervisor.start(work, "snapshot")

    async def _snapshot(
        self,
        meta: SnapshotMeta,
        encode: Callable[[], bytes],
        resealing: asyncio.Future[frozenset[int]] | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(
                self._helper, lambda: self._disk.save_snapshot(meta, encode())
            )
            reach("raft.snapshot-saved")
            self._raft.compact(meta)
            reach("raft.compacted")
            base = self._raft.log.base_index
            if resealing is None:
                await loop.run_in_executor(self._writer, self._disk.remove_segments, base)
            else:
                keys = await loop.run_in_executor(self._writer, self._disk.reseal, base)
                if not resealing.done():
                    resealing.set_result(keys)
        except DiskFull as error:
            log.error("no snapshot was taken: %s", error.message)
            await asyncio.sleep(self.settings.disk_retry_seconds)
        except Exception as error:
            self._fail(error)
        finally:
            self._snapshotting = False
            self._schedule()  # another one may be due by now
            _refuse(resealing, Unavailable("the log was not written again: try it again later"))

    async def _send_snapshot(self, message: InstallSnapshot) -> None:
        loop = asyncio.get_running_loop()
        try:
            meta, data = await loop.run_in_executor(self._helper, self._disk.read_snapshot)
        except (SwarmError, OSError) as error:
            log.error("the snapshot for raft member %x cannot be read: %s", message.to, error)
            self._snapshot_sent(message.to, False)
            return
        full = InstallSnapshot(
            sender=message.sender, to=message.to, term=message.term, snapshot=meta, data=data
        )
        self._transport.send_snapshot(full, lambda arrived: self._snapshot_sent(full.to, arrived))

    def _snapshot_sent(self, peer: int, arrived: bool) -> None:
        self._raft.snapshot_reported(peer, arrived=arrived)
        if self._running:
            self._schedule()


def _refuse(future: asyncio.Future[frozenset[int]] | None, error: SwarmError) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
